//! The one way out of a test's namespaces: what connects to a machine's port 80 reaches a server of this machine.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::netns::Host;

/// Passes connections on as long as the test runs.
pub fn start(host: &Host, to: SocketAddr) {
    let listener = host.inside(|| TcpListener::bind((host.ip, 80))).expect("nobody else is there");
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(to) else { continue };
            for (from, into) in [(&near, &far), (&far, &near)] {
                let [Ok(mut from), Ok(mut into)] = [from.try_clone(), into.try_clone()] else { continue };
                thread::spawn(move || {
                    io::copy(&mut from, &mut into).ok();
                    into.shutdown(std::net::Shutdown::Write).ok();
                });
            }
        }
    });
}
