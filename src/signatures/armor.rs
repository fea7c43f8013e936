//! Keyrings in ASCII armour (RFC 9580 §6) as the bytes that gpgv takes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The bytes of a keyring: those of all armoured blocks in it, or, without any, the file as it is. `None` if a block is damaged.
pub(super) fn plain(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let Some(text) = std::str::from_utf8(&bytes).ok().filter(|text| text.contains(BEGIN)) else { return Some(bytes) };
    let mut keys = Vec::new();
    let mut lines = text.lines();
    while lines.by_ref().any(|line| line.starts_with(BEGIN)) {
        // Armour headers end with a blank line.
        lines.by_ref().find(|line| line.trim().is_empty())?;
        let mut block = String::new();
        loop {
            let line = lines.next()?.trim();
            if line.starts_with("-----END ") {
                break;
            }
            // What follows the equals sign at a line's start is a checksum, which nobody needs any more.
            if !line.starts_with('=') {
                block.push_str(line);
            }
        }
        keys.extend(STANDARD.decode(block).ok()?);
    }
    Some(keys)
}

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_decoded_one_behind_the_other() {
        let block = |body: &str| format!("{BEGIN}\nComment: x\n\n{body}\n-----END PGP PUBLIC KEY BLOCK-----\n");
        let two = format!("{}between\n{}", block("aGVsbG8s\n=abcd"), block("IHdvcmxkIQ=="));
        assert_eq!(plain(two.into_bytes()).as_deref(), Some(&b"hello, world!"[..]));
        assert_eq!(plain(vec![0x99, 1, 2]).as_deref(), Some(&[0x99, 1, 2][..]));
        for damaged in [block("a"), format!("{BEGIN}\n\naGVsbG8s\n"), BEGIN.to_owned()] {
            assert_eq!(plain(damaged.clone().into_bytes()), None, "{damaged}");
        }
    }
}
