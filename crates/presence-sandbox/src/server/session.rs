//! One client's connection, from the handshake to the end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use whatsapp_rust::wacore_binary::{Node, OwnedNodeRef};

use super::{decode, encode};
use crate::hub::{Hub, Order};
use crate::wire::{Channel, WireError, jids, to_xml};
use crate::world::{Admission, Claim, ConnectionId, Device, Farewell, Number, REPLACED, Text, Treatment};

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// How long a client may take to read what it is sent, before it is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take to read why it has to go.
const FAREWELL: Duration = Duration::from_secs(5);

/// How many delayed answers one connection can have; later ones are dropped.
const MAX_DELAYED: usize = 256;

/// Serves one client over a stream whose WebSocket upgrade is done, until either side ends it.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(hub: &Hub, stream: S) {
    let handshake = timeout(HANDSHAKE, Channel::accept(stream, &hub.identity)).await;
    let (mut channel, caller) = match handshake {
        Ok(Ok(accepted)) => accepted,
        // The one of these that a person has to know of: it is their client that is too old.
        Ok(Err(error @ WireError::Dictionary(_))) => return tracing::warn!(%error, "a client was refused"),
        Ok(Err(error)) => return tracing::debug!(%error, "a client did not shake hands"),
        Err(_) => return tracing::debug!("a client took too long to shake hands"),
    };
    let username = caller.payload.username.and_then(Number::from_digits);
    let id = caller.payload.device.unwrap_or_default().try_into().ok();
    let device = username.zip(id).map(|(number, id)| Device { number, id });
    let entrance = hub.login(Claim {
        noise_key: caller.noise_key,
        device,
        passive: caller.payload.passive.unwrap_or(false),
    });
    let (connection, device, greeting, treatment) = match entrance.admission {
        Admission::Welcome {
            connection,
            device,
            lid,
            success,
        } => (
            connection,
            Some(device),
            encode::success(hub.unix_secs(), lid, device.id),
            success,
        ),
        Admission::Pair {
            connection,
            references,
            offer,
        } => (
            connection,
            None,
            encode::pair_device(hub.next_query(), &references),
            offer,
        ),
        Admission::Refused(farewell) => return say_farewell(hub, &mut channel, &farewell, None).await,
    };
    let mut session = Session {
        hub,
        channel,
        connection,
        orders: entrance.orders,
        delayed: BinaryHeap::new(),
        delays: 0,
        stalled: false,
    };
    match treatment {
        Treatment::Give => session.delay(Duration::ZERO, greeting),
        Treatment::Delay(by) => session.delay(by, greeting),
        Treatment::Withhold | Treatment::Reject { .. } => {}
    }
    let end = tokio::select! {
        end = session.run() => end,
        () = entrance.cut.cancelled() => End::Cut,
    };
    hub.hung_up(connection);
    match end {
        End::Farewell(farewell) => say_farewell(hub, &mut session.channel, &farewell, device).await,
        End::Wire(WireError::HungUp) => session.channel.close().await,
        End::Wire(error) => tracing::debug!(%error, "a connection ended"),
        End::Cut => tracing::debug!("a connection was cut"),
    }
}

struct Session<'a, S> {
    hub: &'a Hub,
    channel: Channel<S>,
    connection: ConnectionId,
    orders: mpsc::Receiver<Order>,
    /// Earliest first; the number keeps those of one instant in order.
    delayed: BinaryHeap<Reverse<Delayed>>,
    delays: u64,
    stalled: bool,
}

enum End {
    Farewell(Farewell),
    Wire(WireError),
    Cut,
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

enum Turn {
    Order(Option<Order>),
    Stanza(Result<OwnedNodeRef, WireError>),
    Due,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    async fn run(&mut self) -> End {
        loop {
            if let Err(end) = self.turn().await {
                return end;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), End> {
        let due = self.delayed.peek().map(|Reverse(next)| next.due);
        let turn = tokio::select! {
            biased;
            order = self.orders.recv() => Turn::Order(order),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && !self.stalled => Turn::Due,
            stanza = self.channel.read(), if !self.stalled => Turn::Stanza(stanza),
        };
        match turn {
            Turn::Order(None) => Err(End::Cut),
            Turn::Order(Some(Order::Say(stanza))) => self.delay_or_say(*stanza).await,
            Turn::Order(Some(Order::Push(push))) => {
                self.delay_or_say(encode::push(&push, &self.hub.clock)).await
            }
            Turn::Order(Some(Order::Dismiss(farewell))) => self.dismiss(farewell).await,
            Turn::Order(Some(Order::Stall)) => {
                self.stalled = true;
                Ok(())
            }
            Turn::Order(Some(Order::Resume)) => {
                self.stalled = false;
                Ok(())
            }
            Turn::Due => {
                if let Some(Reverse(next)) = self.delayed.pop() {
                    self.say(&next.stanza).await?;
                }
                Ok(())
            }
            Turn::Stanza(stanza) => self.receive(&stanza?).await,
        }
    }

    async fn receive(&mut self, stanza: &OwnedNodeRef) -> Result<(), End> {
        let text = text(stanza);
        let request = decode::request(stanza.get());
        let connection = self.connection;
        let reaction = self
            .hub
            .change(|world, now| world.receive(now, connection, text, request));
        // First, since they have it however soon the device hangs up.
        for (number, what) in reaction.phones {
            self.hub.phone_takes(number, what);
        }
        for (after, reply) in reaction.replies {
            let stanza = encode::reply(&reply, &self.hub.clock, &self.hub.secret);
            if after.is_zero() {
                self.delay_or_say(stanza).await?;
            } else {
                self.delay(after, stanza);
            }
        }
        match reaction.farewell {
            Some(farewell) => self.dismiss(farewell).await,
            None => Ok(()),
        }
    }

    /// Says it now, or after the stall, whenever that ends.
    async fn delay_or_say(&mut self, stanza: Node) -> Result<(), End> {
        if self.stalled {
            self.delay(Duration::ZERO, stanza);
            Ok(())
        } else {
            self.say(&stanza).await
        }
    }

    fn delay(&mut self, by: Duration, stanza: Node) {
        if self.delayed.len() < MAX_DELAYED {
            self.delays += 1;
            self.delayed.push(Reverse(Delayed {
                due: Instant::now() + by,
                nth: self.delays,
                stanza,
            }));
        }
    }

    async fn dismiss(&mut self, farewell: Farewell) -> Result<(), End> {
        if farewell.hangs_up() {
            return Err(End::Farewell(farewell));
        }
        for stanza in encode::farewell(&farewell) {
            self.say(&stanza).await?;
        }
        Ok(())
    }

    async fn say(&mut self, stanza: &Node) -> Result<(), End> {
        match timeout(WRITE_TIMEOUT, self.channel.write(stanza)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(End::Cut),
        }
    }
}

/// Says why, ends the stream and, a while later unless the peer is quicker, the connection: without a closing
/// handshake, as WhatsApp does. A peer that does not read is not waited for.
async fn say_farewell<S>(hub: &Hub, channel: &mut Channel<S>, farewell: &Farewell, device: Option<Device>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if *farewell == Farewell::Cut {
        return;
    }
    let speech = async {
        for stanza in encode::farewell(farewell) {
            channel.write(&stanza).await?;
        }
        Ok::<_, WireError>(())
    };
    if let Ok(Ok(())) = timeout(FAREWELL, speech).await {
        // What it still says is read and forgotten: unread bytes would make the end a reset, and that could
        // overtake the last stanza. What a connection says that was replaced is what tests of two clients look for.
        let rest = async {
            match device.filter(|_| *farewell == REPLACED) {
                Some(device) => journal_superseded(hub, channel, device).await,
                None => channel.drain().await,
            }
        };
        let _ = timeout(hub.hang_up_after(), rest).await;
    }
}

async fn journal_superseded<S>(hub: &Hub, channel: &mut Channel<S>, device: Device)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Ok(stanza) = channel.read().await {
        let text = text(&stanza);
        hub.change(|world, now| world.receive_superseded(now, device, text));
    }
}

fn text(stanza: &OwnedNodeRef) -> Text {
    let node = stanza.get();
    Text {
        xml: to_xml(node),
        jids: jids(node),
    }
}

struct Delayed {
    due: Instant,
    nth: u64,
    stanza: Node,
}

impl Delayed {
    fn key(&self) -> (Instant, u64) {
        (self.due, self.nth)
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
