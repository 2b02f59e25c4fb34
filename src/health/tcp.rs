//! A check by connecting: a connection that is accepted passes, and is closed again without a byte. Started by `task`.

use super::probe::{Outcome, Probe, Remote};

/// Connects to a backend.
#[derive(Debug)]
pub(super) struct Tcp {
    pub remote: Remote,
}

impl Probe for Tcp {
    async fn check(&mut self) -> Outcome {
        match self.remote.connect().await {
            Ok(_) => Outcome::Passed,
            Err(outcome) => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::probe::within, *};
    use crate::config::Address;
    use std::{net::Ipv4Addr, sync::Arc, time::Duration};
    use tokio::net::{TcpListener, UnixListener};

    const SOON: Duration = Duration::from_secs(5);

    async fn check(address: &Address, port: u16) -> Outcome {
        let remote = Remote::new(address, port, &(Arc::new([Ipv4Addr::LOCALHOST.into()]) as Arc<[_]>), None);
        within(SOON, &mut Tcp { remote }).await
    }

    #[tokio::test]
    async fn whoever_listens_passes_and_whoever_does_not_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        assert!(matches!(check(&address, 0).await, Outcome::Passed));
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), Ipv4Addr::LOCALHOST);
        drop(listener);
        assert!(matches!(check(&address, 0).await, Outcome::Failed(reason) if reason == "connection refused"));
    }

    #[tokio::test]
    async fn another_port_is_asked_where_one_is_given() {
        let (dead, live) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = Address::Tcp(dead.local_addr().unwrap());
        let port = live.local_addr().unwrap().port();
        drop(dead);
        assert!(matches!(check(&address, port).await, Outcome::Passed));
        live.accept().await.unwrap();
    }

    #[tokio::test]
    async fn a_unix_socket_is_asked_too() {
        let path = std::env::temp_dir().join(format!("evenkeel-health-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let address = Address::Unix(path.clone());
        assert!(matches!(check(&address, 0).await, Outcome::Failed(reason) if reason == "no such socket"));
        let listener = UnixListener::bind(&path).unwrap();
        assert!(matches!(check(&address, 0).await, Outcome::Passed));
        drop(listener);
        assert!(matches!(check(&address, 0).await, Outcome::Failed(reason) if reason == "connection refused"));
        std::fs::remove_file(&path).unwrap();
    }
}
