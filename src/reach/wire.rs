//! What a router is asked and answers, byte by byte: PCP (RFC 6887) and its forerunner NAT-PMP (RFC 6886). PURE.
//!
//! Knows the one request that is needed, "map this port of mine", for IPv4. Bytes from the router never panic.

use std::net::Ipv4Addr;

/// Where routers are asked, by UDP.
pub(super) const PORT: u16 = 5351;

/// A protocol whose port is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

/// A request for a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub(super) transport: Transport,
    pub(super) inner_port: u16,
    /// What we would like; the router may give another.
    pub(super) outer_port: u16,
    /// Seconds; 0 ends it.
    pub(super) lifetime_s: u32,
}

/// What a router says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// Strangers reach us at this port.
    Mapped { outer_port: u16, lifetime_s: u32 },
    /// It speaks, but not this protocol.
    OtherVersion,
    /// It will not, for the reason with this number.
    Refused(u16),
}

/// PCP's MAP request; `nonce` is the same for as long as the mapping is.
pub(super) fn pcp_request(request: &Request, own: Ipv4Addr, nonce: &[u8; 12]) -> Vec<u8> {
    let mut bytes = vec![2, 1, 0, 0];
    bytes.extend(request.lifetime_s.to_be_bytes());
    bytes.extend(own.to_ipv6_mapped().octets());
    bytes.extend(nonce);
    bytes.push(match request.transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    });
    bytes.extend([0; 3]);
    bytes.extend(request.inner_port.to_be_bytes());
    bytes.extend(request.outer_port.to_be_bytes());
    // Any outer address.
    bytes.extend(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets());
    bytes
}

/// The answer to such a request; none: it is the answer to something else.
pub(super) fn pcp_answer(bytes: &[u8], request: &Request, nonce: &[u8; 12]) -> Option<Answer> {
    // A router that knows only NAT-PMP says so in its own version (RFC 6887, 9).
    if let [0, ..] = bytes {
        return (bytes.len() >= 4).then_some(Answer::OtherVersion);
    }
    let [2, 0x81, _, result, ..] = *bytes else { return None };
    let refusal = match result {
        0 => None,
        1 => Some(Answer::OtherVersion),
        code => Some(Answer::Refused(code.into())),
    };
    // An error need not repeat the request.
    if let Some(refusal) = refusal {
        return (bytes.len() >= 24).then_some(refusal);
    }
    let is_ours = bytes.get(24..36)? == nonce && u16_at(bytes, 40)? == request.inner_port;
    let outer_port = u16_at(bytes, 42)?;
    is_ours.then_some(Answer::Mapped { outer_port, lifetime_s: u32_at(bytes, 4)? })
}

/// NAT-PMP's mapping request.
pub(super) fn nat_pmp_request(request: &Request) -> Vec<u8> {
    let mut bytes = vec![0, nat_pmp_opcode(request.transport), 0, 0];
    bytes.extend(request.inner_port.to_be_bytes());
    // Who ends a mapping names no outer port (RFC 6886, 3.4).
    let outer_port = if request.lifetime_s == 0 { 0 } else { request.outer_port };
    bytes.extend(outer_port.to_be_bytes());
    bytes.extend(request.lifetime_s.to_be_bytes());
    bytes
}

/// The answer to such a request; none: it is the answer to something else.
pub(super) fn nat_pmp_answer(bytes: &[u8], request: &Request) -> Option<Answer> {
    let opcode = 128 + nat_pmp_opcode(request.transport);
    if bytes.len() < 4 || bytes[0] != 0 || bytes[1] != opcode {
        return None;
    }
    match u16_at(bytes, 2)? {
        0 => {}
        1 => return Some(Answer::OtherVersion),
        code => return Some(Answer::Refused(code)),
    }
    let is_ours = u16_at(bytes, 8)? == request.inner_port;
    let outer_port = u16_at(bytes, 10)?;
    is_ours.then_some(Answer::Mapped { outer_port, lifetime_s: u32_at(bytes, 12)? })
}

fn nat_pmp_opcode(transport: Transport) -> u8 {
    match transport {
        Transport::Udp => 1,
        Transport::Tcp => 2,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUEST: Request =
        Request { transport: Transport::Tcp, inner_port: 9978, outer_port: 9978, lifetime_s: 3600 };
    const NONCE: [u8; 12] = *b"twelve bytes";

    fn pcp_mapped(outer_port: u16) -> Vec<u8> {
        let mut bytes = vec![2, 0x81, 0, 0, 0, 0, 0x0e, 0x10, 0, 0, 0, 9];
        bytes.extend([0; 12]);
        bytes.extend(NONCE);
        bytes.extend([6, 0, 0, 0]);
        bytes.extend(9978_u16.to_be_bytes());
        bytes.extend(outer_port.to_be_bytes());
        bytes.extend(Ipv4Addr::new(198, 51, 100, 1).to_ipv6_mapped().octets());
        bytes
    }

    #[test]
    fn a_request_is_what_the_documents_say() {
        // RFC 6887, figures 2 and 9.
        let pcp = pcp_request(&REQUEST, Ipv4Addr::new(192, 168, 1, 7), &NONCE);
        let mut expected = vec![2, 1, 0, 0, 0, 0, 0x0e, 0x10];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 7]);
        expected.extend(*b"twelve bytes");
        expected.extend([6, 0, 0, 0, 0x26, 0xfa, 0x26, 0xfa]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(pcp, expected);
        // RFC 6886, 3.3.
        assert_eq!(nat_pmp_request(&REQUEST), [0, 2, 0, 0, 0x26, 0xfa, 0x26, 0xfa, 0, 0, 0x0e, 0x10]);
        let end = Request { transport: Transport::Udp, lifetime_s: 0, ..REQUEST };
        assert_eq!(nat_pmp_request(&end), [0, 1, 0, 0, 0x26, 0xfa, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_port_that_is_given_is_understood() {
        let mapped = Answer::Mapped { outer_port: 40_000, lifetime_s: 3600 };
        assert_eq!(pcp_answer(&pcp_mapped(40_000), &REQUEST, &NONCE), Some(mapped));
        let nat_pmp = [0, 130, 0, 0, 0, 0, 0, 9, 0x26, 0xfa, 0x9c, 0x40, 0, 0, 0x0e, 0x10];
        assert_eq!(nat_pmp_answer(&nat_pmp, &REQUEST), Some(mapped));
    }

    #[test]
    fn what_answers_something_else_is_no_answer() {
        assert_eq!(pcp_answer(&pcp_mapped(40_000), &REQUEST, b"other bytes!"), None);
        let other = Request { inner_port: 9979, ..REQUEST };
        assert_eq!(pcp_answer(&pcp_mapped(40_000), &other, &NONCE), None);
        let nat_pmp = [0, 130, 0, 0, 0, 0, 0, 9, 0x26, 0xfa, 0x9c, 0x40, 0, 0, 0x0e, 0x10];
        assert_eq!(nat_pmp_answer(&nat_pmp, &other), None);
        assert_eq!(nat_pmp_answer(&nat_pmp, &Request { transport: Transport::Udp, ..REQUEST }), None);
        assert_eq!(pcp_answer(&pcp_request(&REQUEST, Ipv4Addr::LOCALHOST, &NONCE), &REQUEST, &NONCE), None);
    }

    #[test]
    fn refusals_are_told_apart_from_another_version() {
        let pcp = |result: u8| [&[2, 0x81, 0, result][..], &[0; 20]].concat();
        assert_eq!(pcp_answer(&pcp(2), &REQUEST, &NONCE), Some(Answer::Refused(2)));
        assert_eq!(pcp_answer(&pcp(1), &REQUEST, &NONCE), Some(Answer::OtherVersion));
        assert_eq!(pcp_answer(&[0, 129, 0, 1, 0, 0, 0, 9], &REQUEST, &NONCE), Some(Answer::OtherVersion));
        assert_eq!(nat_pmp_answer(&[0, 130, 0, 2], &REQUEST), Some(Answer::Refused(2)));
        assert_eq!(nat_pmp_answer(&[0, 130, 0, 1], &REQUEST), Some(Answer::OtherVersion));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80), start in 0..3_usize) {
            let starts: [&[u8]; 3] = [&[], &[2, 0x81, 0, 0], &[0, 130, 0, 0]];
            for (at, byte) in starts[start].iter().enumerate().take(bytes.len()) {
                bytes[at] = *byte;
            }
            let _ = pcp_answer(&bytes, &REQUEST, &NONCE);
            let _ = nat_pmp_answer(&bytes, &REQUEST);
        }
    }
}
