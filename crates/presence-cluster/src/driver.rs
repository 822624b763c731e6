//! The task that keeps the cluster true.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use futures_util::future::{BoxFuture, Shared as SharedFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use presence_core::InstanceId;
use presence_store::{Epoch, NodeId, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep_until;
use tracing::{error, info, warn};

use crate::action::{Action, Answer, Statement, StatementKind};
use crate::cluster::Shared;
use crate::machine::Machine;
use crate::message::Message;
use crate::sessions::Sessions;
use crate::standing::Standing;
use crate::statements::{self, Answered};

/// Keeps the cluster true, until it is told to leave.
pub struct Driver {
    shared: Arc<Shared>,
    messages: mpsc::Receiver<Message>,
    ids: Ids,
}

/// The ids of this process as a node, one after the other.
pub(crate) type Ids = Box<dyn FnMut() -> Result<NodeId, StoreError> + Send>;

/// What happens.
enum Event {
    Answered(Answered),
    HandedOver(InstanceId, Epoch),
    GivenUp(Vec<InstanceId>),
}

enum Reply {
    Claimed(oneshot::Sender<bool>, bool),
    Read(oneshot::Sender<Result<(), StoreError>>, Result<(), StoreError>),
}

impl Reply {
    /// Whoever asked may not wait any more.
    fn send(self) {
        match self {
            Self::Claimed(reply, is_taken) => drop(reply.send(is_taken)),
            Self::Read(reply, read) => drop(reply.send(read)),
        }
    }
}

/// Does what [`Machine`] decides, and waits for nothing: whatever takes its time is one of the events to come.
struct Run {
    shared: Arc<Shared>,
    sessions: Arc<dyn Sessions>,
    machine: Machine,
    ids: Ids,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
    handing_over: HashMap<InstanceId, HandOver>,
    /// Those who wait for the next read, and for the one under way.
    next_read: Vec<oneshot::Sender<Result<(), StoreError>>>,
    this_read: Vec<oneshot::Sender<Result<(), StoreError>>>,
    /// Those who are told once the sessions know and the view is published.
    replies: Vec<Reply>,
    is_in_contact: Option<bool>,
}

/// A session that ends in order.
struct HandOver {
    task: AbortHandle,
    ended: SharedFuture<BoxFuture<'static, ()>>,
}

impl HandOver {
    /// Goes no further with it.
    async fn break_off(self) {
        self.task.abort();
        self.ended.await;
    }
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, messages: mpsc::Receiver<Message>, ids: Ids) -> Self {
        Self {
            shared,
            messages,
            ids,
        }
    }

    /// Plays this node's part with `sessions`, until [`Cluster::leave`](crate::Cluster::leave) is done.
    pub async fn run(self, sessions: Arc<dyn Sessions>) {
        let Self {
            shared,
            mut messages,
            ids,
        } = self;
        let hints = shared.ledger.hints();
        let run = Run {
            machine: Machine::new(shared.clock.look(), shared.settings.clone()),
            shared,
            sessions,
            ids,
            events: FuturesUnordered::new(),
            handing_over: HashMap::new(),
            next_read: Vec::new(),
            this_read: Vec::new(),
            replies: Vec::new(),
            is_in_contact: None,
        };
        run.run(&mut messages, hints).await;
    }
}

impl Run {
    async fn run(mut self, messages: &mut mpsc::Receiver<Message>, mut hints: watch::Receiver<u64>) {
        let mut is_hinted = true;
        loop {
            self.step();
            if self.machine.is_over() {
                break;
            }
            let deadline = self.shared.clock.on_tokios(self.machine.poll_timeout());
            tokio::select! {
                biased;
                Some(event) = self.events.next() => self.handle_event(event),
                Some(message) = messages.recv() => self.handle_message(message),
                hint = hints.changed(), if is_hinted => match hint {
                    Ok(()) => self.machine.handle_hint(),
                    Err(_) => is_hinted = false,
                },
                () = sleep_until(deadline) => {}
            }
        }
        self.shared.act_until.set(None);
        info!("left the cluster");
    }

    /// Does all that can be done without waiting.
    fn step(&mut self) {
        self.look_at_clock();
        // What is taken may be acted for at once.
        self.shared.act_until.set(self.machine.acts_until());
        let sessions = Arc::clone(&self.sessions);
        while let Some(action) = self.machine.poll_action(&|instance| sessions.activity(instance)) {
            self.carry_out(action);
        }
        self.publish();
        self.replies.drain(..).for_each(Reply::send);
    }

    /// Before anything is told to the machine, so that it knows of it whether this process was asleep.
    fn look_at_clock(&mut self) {
        let now = self.shared.clock.look();
        self.machine.handle_time(now, self.sessions.wanted());
    }

    fn carry_out(&mut self, action: Action) {
        let sessions = Arc::clone(&self.sessions);
        match action {
            Action::ChooseId => {
                let id = (self.ids)();
                if let Err(error) = &id {
                    error!(error = error as &dyn Error, "no node can be entered");
                }
                self.machine.handle_id(id.ok());
            }
            Action::Begin(statement) => {
                if statement.kind() == StatementKind::Read {
                    self.this_read.append(&mut self.next_read);
                }
                let shared = &self.shared;
                let answered =
                    statements::begin(statement, Arc::clone(&shared.ledger), shared.settings.clone());
                self.events
                    .push(Box::pin(async { Event::Answered(answered.await) }));
            }
            Action::Take(taken) => {
                info!(instances = taken.len(), "took instances");
                sessions.take(&taken);
            }
            // Tasks of their own: a panic in one is the end of that session too, and none delays a renewal.
            Action::HandOver(instance, epoch) => {
                let task = tokio::spawn(async move { sessions.hand_over(instance).await });
                let hand_over = HandOver {
                    task: task.abort_handle(),
                    ended: task.map(drop).boxed().shared(),
                };
                let ended = hand_over.ended.clone();
                self.events.push(Box::pin(async move {
                    ended.await;
                    Event::HandedOver(instance, epoch)
                }));
                self.handing_over.insert(instance, hand_over);
            }
            Action::GiveUp(lost) => {
                // Those that were deleted are nobody's loss.
                let instances = self.machine.view().count(&lost);
                if instances > 0 {
                    warn!(instances, "gave instances up");
                }
                let given_up = lost.clone();
                let handing_over = lost.iter().filter_map(|id| self.handing_over.remove(id));
                let handing_over: Vec<_> = handing_over.map(HandOver::break_off).collect();
                let ended = tokio::spawn(async move {
                    // One that went on would end the session that follows.
                    join_all(handing_over).await;
                    sessions.give_up(&lost).await;
                });
                self.events.push(Box::pin(async move {
                    let _ = ended.await;
                    Event::GivenUp(given_up)
                }));
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        self.look_at_clock();
        match event {
            Event::Answered(answered) => self.handle_answer(answered),
            Event::HandedOver(instance, epoch) => {
                let is_finished = |hand_over: &HandOver| hand_over.task.is_finished();
                if self.handing_over.get(&instance).is_some_and(is_finished) {
                    self.handing_over.remove(&instance);
                }
                self.machine.handle_handed_over(instance, epoch);
            }
            Event::GivenUp(instances) => self.machine.handle_given_up(&instances),
        }
    }

    fn handle_answer(&mut self, answered: Answered) {
        let Answered {
            statement,
            answer,
            error,
        } = answered;
        log(&statement, &answer);
        self.machine.handle_answer(&statement, answer);
        self.log_contact(error.as_ref());
        if statement.kind() == StatementKind::Read {
            let error = error.map(Arc::new);
            for reply in self.this_read.drain(..) {
                let error = error.as_ref().map(Arc::clone);
                let read = error.map_or(Ok(()), |error| Err(StoreError::Shared(error)));
                self.replies.push(Reply::Read(reply, read));
            }
        }
    }

    fn handle_message(&mut self, message: Message) {
        self.look_at_clock();
        match message {
            Message::Claimed {
                node,
                instance,
                epoch,
                reply,
            } => {
                let is_taken = self.machine.handle_claimed_one(node, instance, epoch);
                self.replies.push(Reply::Claimed(reply, is_taken));
            }
            Message::Deleted(instance) => self.machine.handle_deleted(instance),
            Message::Refresh(reply) => {
                self.next_read.push(reply);
                self.machine.handle_hint();
            }
            Message::Leave { grace } => {
                info!("leaving the cluster");
                self.machine.handle_leave(grace);
            }
        }
    }

    fn publish(&mut self) {
        let shared = &self.shared;
        if self.machine.poll_view_changed() {
            shared.view.store(Arc::new(self.machine.view().clone()));
            shared.changes.send_modify(|changes| *changes += 1);
        }
        let standing = self.machine.standing();
        shared.standing.send_if_modified(|published| {
            let before = std::mem::replace(published, standing);
            if before == Standing::Member && standing == Standing::CutOff {
                warn!("cut off from the database: sessions go on for a while");
            }
            before != standing
        });
    }

    fn log_contact(&mut self, error: Option<&StoreError>) {
        match (error, self.is_in_contact) {
            (Some(error), None | Some(true)) => {
                warn!(error = error as &dyn Error, "the database does not answer");
            }
            (None, Some(false)) => info!("the database answers again"),
            _ => {}
        }
        self.is_in_contact = Some(error.is_none());
    }
}

/// What an operator wants to know of it.
fn log(statement: &Statement, answer: &Answer) {
    match (statement, answer) {
        (Statement::Enter(node), Answer::Done) => info!(%node, "entered the cluster"),
        (Statement::Renew(node), Answer::Dead) => {
            warn!(%node, "the lease was lost: this process goes on as another node");
        }
        (_, Answer::StruckOff(nodes)) => {
            for node in nodes {
                info!(%node, "struck a lost node off");
            }
        }
        (Statement::Release(_, released), Answer::Done) => {
            info!(instances = released.len(), "handed instances over");
        }
        _ => {}
    }
}
