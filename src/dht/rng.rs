//! Randomness from a seed: the same seed makes the same run.

use crate::digest::Digest;

/// SHA-256 of the seed and a counter: what it gave tells nobody what comes, so tokens and transaction ids may be made
/// of it.
#[derive(Clone)]
pub struct Rng {
    seed: [u8; 32],
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl Rng {
    /// A generator; in the daemon the seed comes from the kernel.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Rng {
        Rng { seed, counter: 0, block: [0; 32], used: 32 }
    }

    /// Random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        for byte in &mut out {
            if self.used == self.block.len() {
                let mut input = [0; 40];
                input[..32].copy_from_slice(&self.seed);
                input[32..].copy_from_slice(&self.counter.to_be_bytes());
                self.block = Digest::of(&input).0;
                self.counter += 1;
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
        out
    }

    /// A number below `bound`, which is not 0; the bias of the remainder is below 2⁻³² for the bounds used here.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from_be_bytes(self.bytes()) % bound
    }
}
