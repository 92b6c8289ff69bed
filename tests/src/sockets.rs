//! The sockets of a process, as the kernel lists them: where it listens and with whom it speaks.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

/// A TCP socket in this state waits for others.
const LISTENS: &str = "0A";

/// A TCP or UDP socket.
#[derive(Clone, Debug)]
pub struct Socket {
    pub local: SocketAddr,
    /// The other side; port 0 if there is none.
    pub remote: SocketAddr,
    /// Whether it is a TCP socket to which others connect.
    pub listens: bool,
}

impl Socket {
    /// Whether nobody but this machine reaches it or is reached by it.
    pub fn is_loopback(&self) -> bool {
        let nobody = self.remote.port() == 0 && self.remote.ip().is_unspecified();
        self.local.ip().is_loopback() && (nobody || self.remote.ip().is_loopback())
    }
}

/// All of a process; none of one that has ended.
pub fn sockets(pid: u32) -> Vec<Socket> {
    let own = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let own: BTreeSet<String> =
        own.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_str()?.to_owned())).collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let rows = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let rows = rows.lines().skip(1).filter(|row| own.contains(&format!("socket:[{}]", inode(row))));
        found.extend(rows.filter_map(|row| socket(row, table.starts_with("tcp"))));
    }
    found
}

fn inode(row: &str) -> &str {
    row.split_whitespace().nth(9).unwrap_or_default()
}

fn socket(row: &str, tcp: bool) -> Option<Socket> {
    let mut words = row.split_whitespace().skip(1);
    let (local, remote, state) = (address(words.next()?)?, address(words.next()?)?, words.next()?);
    Some(Socket { local, remote, listens: tcp && state == LISTENS })
}

/// Reads `0100007F:1F90`: words of 32 bits in the machine's order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words = (0..ip.len()).step_by(8).map(|at| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok());
    let bytes = words.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect::<Vec<u8>>();
    let ip = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(bytes) => IpAddr::from(bytes),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    /// Each kind is found, and one that is open to others is told from those that are not.
    #[test]
    fn own_sockets_are_found() {
        // Not every machine speaks IPv6.
        let listen = |addresses: [&str; 2]| addresses.map(TcpListener::bind).into_iter().flatten().collect::<Vec<_>>();
        let here = listen(["127.0.0.1:0", "[::1]:0"]);
        let there = TcpStream::connect(here[0].local_addr().unwrap()).unwrap();
        let everywhere = listen(["0.0.0.0:0", "[::]:0"]);
        let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
        let open = UdpSocket::bind("0.0.0.0:0").unwrap();
        let all = sockets(std::process::id());
        let found = |local: SocketAddr| {
            let found = all.iter().find(|socket| socket.local == local && socket.remote.port() == 0);
            found.map(|socket| (socket.listens, socket.is_loopback()))
        };
        for listener in &here {
            assert_eq!(found(listener.local_addr().unwrap()), Some((true, true)));
        }
        for listener in &everywhere {
            assert_eq!(found(listener.local_addr().unwrap()), Some((true, false)));
        }
        assert_eq!(found(deaf.local_addr().unwrap()), Some((false, true)));
        assert_eq!(found(open.local_addr().unwrap()), Some((false, false)));
        let (local, remote) = (there.local_addr().unwrap(), there.peer_addr().unwrap());
        assert!(all.iter().any(|it| (it.local, it.remote) == (local, remote) && !it.listens && it.is_loopback()));
    }
}
