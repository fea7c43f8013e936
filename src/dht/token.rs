//! Tokens: who announces must have asked from the same address before (BEP 5, "announce_peer").

use std::net::IpAddr;

use super::rng::Rng;
use crate::digest::Digest;
use crate::limits::TOKEN_TIME;
use crate::time::Time;

/// Makes and checks tokens: a hash of the asker's address and a secret that changes; the last one still counts.
pub(super) struct Tokens {
    secret: [u8; 32],
    last: [u8; 32],
    changed: Time,
}

impl Tokens {
    pub(super) fn new(rng: &mut Rng, now: Time) -> Tokens {
        Tokens { secret: rng.bytes(), last: rng.bytes(), changed: now }
    }

    /// Changes the secret when its time has come.
    pub(super) fn tick(&mut self, rng: &mut Rng, now: Time) {
        if now.since(self.changed) >= TOKEN_TIME {
            self.last = std::mem::replace(&mut self.secret, rng.bytes());
            self.changed = now;
        }
    }

    pub(super) fn make(&self, ip: IpAddr) -> Vec<u8> {
        sign(&self.secret, ip).to_vec()
    }

    pub(super) fn is_ours(&self, token: &[u8], ip: IpAddr) -> bool {
        token == sign(&self.secret, ip) || token == sign(&self.last, ip)
    }
}

fn sign(secret: &[u8; 32], ip: IpAddr) -> [u8; 8] {
    let mut input = secret.to_vec();
    match ip {
        IpAddr::V4(ip) => input.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => input.extend_from_slice(&ip.octets()),
    }
    Digest::of(&input).0[..8].try_into().expect("32 bytes are more than 8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_address_and_for_two_periods() {
        let mut rng = Rng::new([1; 32]);
        let mut tokens = Tokens::new(&mut rng, Time(0));
        let (here, there) = (IpAddr::from([203, 0, 113, 1]), IpAddr::from([203, 0, 113, 2]));
        let token = tokens.make(here);
        assert!(tokens.is_ours(&token, here) && !tokens.is_ours(&token, there) && !tokens.is_ours(b"", here));
        tokens.tick(&mut rng, Time(0) + TOKEN_TIME);
        assert!(tokens.is_ours(&token, here));
        tokens.tick(&mut rng, Time(0) + TOKEN_TIME + TOKEN_TIME);
        assert!(!tokens.is_ours(&token, here));
    }
}
