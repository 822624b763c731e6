//! The sandbox as a value: what tests and the binary hold.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::hub::Hub;
use crate::server::push_name;
use crate::world::{
    Fault, FaultId, InvalidFault, InvalidGroup, JournalPage, Lid, Number, PairError, PhoneMessage,
    PhoneReceipt, Place, SendError, Settings, Shown, Spell, TooManyNumbers, World,
};
use crate::{http, memory};

/// How many TCP connections there can be. A client has one.
const MAX_CONNECTIONS: usize = 20_000;

/// How many bytes wait in each direction of a [dialled](Sandbox::dial) connection.
const DIALLED: usize = 64 * 1024;

/// A WhatsApp of one's own. It ends, with all its connections, when the value is dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use presence_sandbox::Sandbox;
///
/// let sandbox = Sandbox::builder().start().await?;
/// # async fn a_client_connects_to(_: String) -> String { String::new() }
/// let qr = a_client_connects_to(sandbox.edge_url().unwrap()).await;
/// sandbox.scan("5511988887777".parse()?, &qr).await?;
/// sandbox.wait_for(|world| !world.shown("5511977776666".parse().unwrap()).now.is_empty()).await;
/// # Ok(()) }
/// ```
pub struct Sandbox {
    hub: Arc<Hub>,
    address: Option<SocketAddr>,
}

/// What a [`Sandbox`] is started with.
#[derive(Clone, Debug)]
pub struct Builder {
    settings: Settings,
    listen: SocketAddr,
    state: Option<PathBuf>,
}

impl Sandbox {
    /// A sandbox with WhatsApp's behaviour, on a free port of 127.0.0.1.
    #[must_use]
    pub fn builder() -> Builder {
        let mut secret = [0; 32];
        rand::rng().fill(&mut secret);
        Builder {
            settings: Settings {
                secret,
                ..Settings::default()
            },
            listen: ([127, 0, 0, 1], 0).into(),
            state: None,
        }
    }

    /// Where clients connect; `None` for a detached sandbox.
    #[must_use]
    pub fn edge_url(&self) -> Option<String> {
        self.address
            .map(|address| format!("ws://{address}{}", http::EDGE))
    }

    /// The key a client must know, since it cannot check the sandbox's certificates.
    #[must_use]
    pub fn edge_key(&self) -> [u8; 32] {
        self.hub.identity.public_key()
    }

    /// The key that signed the sandbox's certificates: a client that is given it in place of WhatsApp's root can
    /// check them, and keeps its check.
    #[must_use]
    pub fn edge_root(&self) -> [u8; 32] {
        self.hub.identity.root_key()
    }

    /// Where the control API is; `None` for a detached sandbox.
    #[must_use]
    pub fn control_url(&self) -> Option<String> {
        self.address.map(|address| format!("http://{address}"))
    }

    /// Serves one connection over `stream`, as if it had come over TCP: a client's, with its WebSocket
    /// upgrade, or the control API's. Returns at once.
    pub fn serve_io(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        self.hub.tasks.spawn(http::serve(self.hub.clone(), stream, None));
    }

    /// A new connection to the sandbox, without a socket, on which a paused clock can wait.
    #[must_use]
    pub fn dial(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(DIALLED);
        self.serve_io(far);
        near
    }

    /// The phone of `number` scans a QR code. Returns when the device is linked.
    ///
    /// # Errors
    /// [`PairError`], when it is not.
    pub async fn scan(&self, number: Number, qr: &str) -> Result<(), PairError> {
        self.hub.scan(number, qr).await
    }

    /// The owner of `number` enters a link code on the phone. Returns when the device is linked.
    ///
    /// # Errors
    /// [`PairError`], when it is not.
    pub async fn enter_link_code(&self, number: Number, code: &str) -> Result<(), PairError> {
        self.hub.enter_link_code(number, code).await
    }

    /// The owner of `number` gives the account another name, and its devices that are connected are told. Returns
    /// how many were.
    pub fn rename(&self, number: Number, name: &str) -> usize {
        let connections = self.hub.look(|world| world.connections_of(number));
        let notification = push_name(self.hub.next_query(), self.hub.unix_secs(), number, name);
        let told = connections.into_iter();
        told.filter(|connection| self.hub.say(*connection, notification.clone()))
            .count()
    }

    /// The owner of `number` unlinks all devices on the phone. Returns how many there were.
    pub fn unlink(&self, number: Number) -> usize {
        self.hub.change(|world, _| world.unlink(number))
    }

    /// Cuts `number`'s connections without a word. Returns how many there were.
    pub fn drop_connections(&self, number: Number) -> usize {
        self.hub.change(|world, _| world.drop_connections(number))
    }

    /// What the phone of `number` shows now, and everything it showed before.
    #[must_use]
    pub fn shown(&self, number: Number) -> Shown {
        self.hub.look(|world| world.shown(number))
    }

    /// Everything the phone of `number` ever showed, in the order in which it appeared.
    #[must_use]
    pub fn timeline(&self, number: Number) -> Vec<Spell> {
        self.shown(number).timeline
    }

    /// Every stanza clients sent, as far as the journal remembers.
    #[must_use]
    pub fn journal(&self) -> JournalPage {
        self.hub.look(|world| world.journal(0, usize::MAX))
    }

    /// How many connections `number`'s devices have, logged in.
    #[must_use]
    pub fn connections(&self, number: Number) -> usize {
        self.hub.look(|world| world.connections(number))
    }

    /// Looks at the world as it is now.
    #[must_use]
    pub fn look<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        self.hub.look(look)
    }

    /// Waits until the world is as `is_so` says. It is asked after every change, not at intervals, and must
    /// look only into the world it is given: the sandbox's other methods wait for it to return.
    pub async fn wait_for(&self, mut is_so: impl FnMut(&World) -> bool) {
        self.hub.wait_for(|world| is_so(world).then_some(())).await;
    }

    /// Makes something go wrong. Returns the fault's number, when it stands, and how many connections it
    /// struck at once.
    ///
    /// # Errors
    /// [`InvalidFault`], when it makes no sense.
    pub fn fault(&self, fault: Fault) -> Result<(Option<FaultId>, usize), InvalidFault> {
        self.hub.change(|world, now| world.add_fault(now, fault))
    }

    /// Clears all faults; what they stalled goes on. Returns how many stood.
    pub fn clear_faults(&self) -> usize {
        self.hub.change(|world, _| world.clear_faults())
    }

    /// Sets what WhatsApp knows about `number`: the number it really is (`None`: not on WhatsApp), and its
    /// LID.
    ///
    /// # Errors
    /// [`TooManyNumbers`], when the table is full.
    pub fn set_number(
        &self,
        number: Number,
        canonical: Option<Number>,
        lid: Option<Lid>,
    ) -> Result<(), TooManyNumbers> {
        self.hub
            .change(|world, _| world.set_number(number, canonical, lid))
    }

    /// Says whether the chats of `number` have moved to LIDs, whatever [`Builder::lid_migrated`] says for all.
    /// Its devices learn it when they are linked, and when they ask for the A/B properties, as after each login.
    ///
    /// # Errors
    /// [`TooManyNumbers`], when it was said of as many accounts as can be kept.
    pub fn set_lid_migrated(&self, number: Number, migrated: bool) -> Result<(), TooManyNumbers> {
        self.hub
            .change(|world, _| world.set_lid_migrated(number, migrated))
    }

    /// Sets up a group, or changes it: its name, and who is in it.
    ///
    /// # Errors
    /// [`InvalidGroup`], when there cannot be such a group.
    pub fn set_group(
        &self,
        group: Place,
        subject: &str,
        members: impl IntoIterator<Item = Number>,
    ) -> Result<(), InvalidGroup> {
        let members: BTreeSet<_> = members.into_iter().collect();
        self.hub
            .change(|world, _| world.set_group(group, subject.to_owned(), members))
    }

    /// The owner of `from` sends a text from the phone, encrypted for each device that gets it: the recipient's
    /// phone and linked devices (those of everybody in a group), and the sender's own linked devices. Returns the
    /// message's id.
    ///
    /// # Errors
    /// [`SendError`], when there is nobody to send it to.
    pub fn send(&self, from: Number, to: Place, text: &str) -> Result<String, SendError> {
        self.hub.send_from_phone(from, to, text).map(|(id, _)| id)
    }

    /// The messages that the phone of `number` got and could read, oldest first; the last 1000.
    #[must_use]
    pub fn messages(&self, number: Number) -> Vec<PhoneMessage> {
        self.hub.look(|world| world.messages(number))
    }

    /// The receipts that the phone of `number` got for what it sent, oldest first; the last 1000.
    #[must_use]
    pub fn receipts(&self, number: Number) -> Vec<PhoneReceipt> {
        self.hub.look(|world| world.receipts(number))
    }

    /// Ends all connections and everything the sandbox runs, and waits until it has ended.
    pub async fn stop(&self) {
        self.hub.stop.cancel();
        self.hub.tasks.close();
        self.hub.tasks.wait().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.hub.stop.cancel();
    }
}

impl Builder {
    /// How long a phone shows an indicator that is not renewed. 10 seconds unless set.
    #[must_use]
    pub const fn expire_after(mut self, time: Duration) -> Self {
        self.settings.expire_after = time;
        self
    }

    /// Whether accounts' chats have moved to LIDs, of which they tell the devices they link. They have not unless
    /// set; [`Sandbox::set_lid_migrated`] sets it for one.
    #[must_use]
    pub const fn lid_migrated(mut self, migrated: bool) -> Self {
        self.settings.lid_migrated = migrated;
        self
    }

    /// Whether everybody has a LID, as on WhatsApp, and not only those who were given one and accounts with linked
    /// devices. Some clients send nothing to people without. Not unless set.
    #[must_use]
    pub const fn lids(mut self, everybody: bool) -> Self {
        self.settings.lids = everybody;
        self
    }

    /// Whether phones share the key to their app state, with the account's name in it, with the devices they
    /// link. Some clients learn the name in no other way. Not unless set.
    #[must_use]
    pub const fn app_state(mut self, shared: bool) -> Self {
        self.settings.app_state = shared;
        self
    }

    /// Whether accounts give the devices they link no name. A client without one cannot say that it is available.
    /// They are called "Sandbox" unless set.
    #[must_use]
    pub const fn nameless(mut self, nameless: bool) -> Self {
        self.settings.nameless = nameless;
        self
    }

    /// How long after a device confirmed that it was linked it is registered: until then, its logins are refused
    /// with 401. At once unless set.
    #[must_use]
    pub const fn register_after(mut self, time: Duration) -> Self {
        self.settings.register_after = time;
        self
    }

    /// How long after it was registered a device is told to connect again (stream error 515). 400 ms unless set.
    #[must_use]
    pub const fn restart_after(mut self, time: Duration) -> Self {
        self.settings.restart_after = time;
        self
    }

    /// How long a connection stays open after the server ended its stream, unless the client closes it. 100 ms
    /// unless set.
    #[must_use]
    pub const fn hang_up_after(mut self, time: Duration) -> Self {
        self.settings.hang_up_after = time;
        self
    }

    /// How many devices a phone can link. 4 unless set, as on WhatsApp.
    #[must_use]
    pub const fn max_devices(mut self, most: usize) -> Self {
        self.settings.max_devices = most;
        self
    }

    /// How many stanzas the journal keeps. 100 000 unless set.
    #[must_use]
    pub const fn journal(mut self, stanzas: usize) -> Self {
        self.settings.journal = stanzas;
        self
    }

    /// Where [`start`](Self::start) listens. A free port of 127.0.0.1 unless set.
    #[must_use]
    pub const fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// A file in which a sandbox that [listens](Self::start) remembers its keys, its accounts and their devices, and
    /// what was set for numbers and groups: another that is started with it goes on where it ended, as far as
    /// clients can tell. Sessions between phones and devices begin anew, and messages under way are lost. None
    /// unless set.
    #[must_use]
    pub fn state(mut self, file: impl Into<PathBuf>) -> Self {
        self.state = Some(file.into());
        self
    }

    /// A sandbox without sockets, for [`Sandbox::serve_io`] and [`Sandbox::dial`]. It must be called within
    /// a tokio runtime.
    #[must_use]
    pub fn detached(self) -> Sandbox {
        let hub = Arc::new(Hub::new(self.settings));
        let clock = hub.clone();
        hub.tasks.spawn(async move {
            tokio::select! {
                () = clock.keep_time() => {}
                () = clock.stop.cancelled() => {}
            }
        });
        Sandbox { hub, address: None }
    }

    /// A sandbox that listens.
    ///
    /// # Errors
    /// When the address cannot be listened on, the state file cannot be read, or the address is not a loopback address: the sandbox obeys whoever
    /// reaches it.
    pub async fn start(mut self) -> io::Result<Sandbox> {
        if !self.listen.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the sandbox listens on loopback addresses only",
            ));
        }
        let listener = TcpListener::bind(self.listen).await?;
        let address = listener.local_addr()?;
        let state = self.state.take();
        let remembered = match &state {
            Some(file) => memory::load(file)?,
            None => None,
        };
        if let Some(secret) = remembered.as_ref().and_then(|durable| durable.secret()) {
            self.settings.secret = secret;
        }
        let mut sandbox = self.detached();
        sandbox.address = Some(address);
        if let Some(durable) = remembered {
            sandbox.hub.change(|world, _| world.remember(durable));
        }
        if let Some(file) = state {
            sandbox.hub.tasks.spawn(memory::keep(sandbox.hub.clone(), file));
        }
        sandbox.hub.tasks.spawn(accept(sandbox.hub.clone(), listener));
        Ok(sandbox)
    }
}

async fn accept(hub: Arc<Hub>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let next = || async {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = listener.accept().await?;
        // Answers are small and follow each other; waiting to merge them costs 40 ms each time.
        stream.set_nodelay(true)?;
        Ok::<_, io::Error>((stream, place))
    };
    loop {
        let accepted = tokio::select! {
            accepted = next() => accepted,
            () = hub.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, place)) => {
                hub.tasks.spawn(http::serve(hub.clone(), stream, Some(place)));
            }
            Err(error) => {
                // Out of file descriptors, most likely: they come back when connections end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
