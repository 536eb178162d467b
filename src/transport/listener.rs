//! Listeners: bound sockets, open only while the broker is the active one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::broker::Broker;
use crate::protocol::openwire::{OpenWireOptions, serve};

/// How long to wait after the system refused to accept, usually for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address in another form than `tcp://host:port`.
    #[error("cannot listen on `{0}`: write `tcp://host:port`")]
    Address(String),
    /// The system refuses.
    #[error("cannot listen on `{address}`: {source}")]
    Bind {
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
}

/// The open listeners of a broker.
#[derive(Debug)]
pub struct Listeners {
    addresses: Vec<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl Listeners {
    /// Opens listeners on addresses like `tcp://host:port`; port 0 lets the system choose. They
    /// accept from now on.
    ///
    /// # Errors
    /// [`ListenError`]; none is open then.
    pub async fn open(
        addresses: &[String],
        broker: Arc<Broker>,
        options: OpenWireOptions,
    ) -> Result<Listeners, ListenError> {
        let mut bound = Vec::new();
        for address in addresses {
            bound.push(bind(address).await?);
        }
        let options = Arc::new(options);
        let open = Arc::new(AtomicUsize::new(0));
        let mut listeners = Listeners {
            addresses: Vec::new(),
            tasks: Vec::new(),
        };
        for (listener, address) in bound {
            listeners.addresses.push(address);
            let (broker, options) = (Arc::clone(&broker), Arc::clone(&options));
            let accepting = accept(listener, broker, options, Arc::clone(&open));
            listeners.tasks.push(tokio::spawn(accepting));
        }
        Ok(listeners)
    }

    /// The addresses that are really listened on.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// Closes the listeners. Connections live on until the broker ends them.
    pub fn close(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.close();
    }
}

async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), ListenError> {
    let place = address
        .strip_prefix("tcp://")
        .filter(|place| {
            place
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        })
        .ok_or_else(|| ListenError::Address(address.to_owned()))?;
    let refused = |source| ListenError::Bind {
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(place).await.map_err(refused)?;
    let local = listener.local_addr().map_err(refused)?;
    Ok((listener, local))
}

async fn accept(
    listener: TcpListener,
    broker: Arc<Broker>,
    options: Arc<OpenWireOptions>,
    open: Arc<AtomicUsize>,
) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted.");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let place = Place::take(&open);
        if place.number > options.connections_max {
            let limit = options.connections_max;
            tracing::warn!(%peer, limit, "A connection was closed at once: there are too many.");
            continue;
        }
        let serving = serve(stream, peer, Arc::clone(&broker), Arc::clone(&options));
        tokio::spawn(async move {
            let _place = place;
            serving.await;
        });
    }
}

/// One of the connections that may be open.
struct Place {
    open: Arc<AtomicUsize>,
    number: usize,
}

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        let number = open.fetch_add(1, Ordering::Relaxed) + 1;
        Place {
            open: Arc::clone(open),
            number,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
