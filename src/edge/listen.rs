//! The sockets that clients connect to: made here, or handed over by systemd.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::limits::{BACKLOG, SEND_BUFFER_LEN};

/// A listener on `address`. `[::]` takes IPv4 too; where the machine has no IPv6 it becomes `0.0.0.0`.
///
/// # Errors
/// What the system says, [`io::ErrorKind::AddrInUse`] before all.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match bind_one(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && has_no_ipv6(&error) => {
            bind_one(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        other => other,
    }
}

fn has_no_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let number = error.raw_os_error();
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].into_iter().any(|errno| number == Some(errno.raw_os_error()))
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    tune(&socket)?;
    Ok(TcpListener::from(socket))
}

/// Options that accepted sockets inherit.
fn tune(socket: &OwnedFd) -> io::Result<()> {
    sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER_LEN)?;
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    Ok(())
}

/// The sockets that systemd hands over; none when it did not start us so.
///
/// # Errors
/// When one of them is no listening TCP socket.
pub fn from_systemd() -> io::Result<Vec<TcpListener>> {
    let Ok(descriptors) = sd_notify::listen_fds() else { return Ok(Vec::new()) };
    descriptors
        .map(|descriptor| {
            #[expect(unsafe_code, reason = "systemd passes sockets as bare numbers")]
            // SAFETY: LISTEN_PID names this process, so the numbers are open and ours; they are taken once, at the start.
            let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
            if sockopt::socket_type(&socket)? != SocketType::STREAM || !sockopt::socket_acceptconn(&socket)? {
                let why = "a socket that systemd hands over is no listening stream socket; see ListenStream=";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            tune(&socket)?;
            let listener = TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_told_so() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback");
        let address = first.local_addr().expect("bound");
        assert_eq!(bind(address).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn any_address_takes_ipv4() {
        let listener = bind("[::]:0".parse().expect("an address")).expect("a listener");
        let port = listener.local_addr().expect("bound").port();
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("taken over IPv4");
    }
}
