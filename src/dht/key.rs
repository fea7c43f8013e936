//! Keys: where on a network the record of a file lies, and where the nodes of an overlay meet.

use super::id::NodeId;
use crate::digest::{Digest, hmac};

/// The key of a file (DESIGN.md, "key"): the first 20 bytes of SHA-256("apt-p2p/1" ‖ network ‖ digest). With a secret
/// HMAC-SHA256(secret, digest) stands for the digest.
#[must_use]
pub fn key(network: &str, secret: Option<&[u8]>, digest: &Digest) -> NodeId {
    let digest = digest.on_the_wire(secret);
    let mut input = b"apt-p2p/1".to_vec();
    input.extend_from_slice(network.as_bytes());
    input.extend_from_slice(&digest.0);
    first_20(&Digest::of(&input))
}

/// Where the nodes of an overlay meet on mainline.
#[must_use]
pub fn rendezvous(network: &str, secret: Option<&[u8]>) -> NodeId {
    let name = format!("apt-p2p/1 rendezvous {network}");
    first_20(&secret.map_or_else(|| Digest::of(name.as_bytes()), |secret| hmac(secret, name.as_bytes())))
}

fn first_20(digest: &Digest) -> NodeId {
    NodeId(digest.0[..20].try_into().expect("32 bytes are more than 20"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_private_networks_tell_nothing() {
        let digest = Digest::of(b"a package");
        let public = key("apt-p2p", None, &digest);
        assert_ne!(public, key("other", None, &digest));
        let private = key("apt-p2p", Some(b"secret"), &digest);
        assert!(private != public && private != key("apt-p2p", Some(b"other"), &digest));
        assert_ne!(rendezvous("apt-p2p", None), rendezvous("apt-p2p", Some(b"secret")));
        // RFC 4231, test case 2.
        let mac = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(mac.to_string(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
