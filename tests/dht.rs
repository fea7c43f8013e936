//! The DHT as a sequence of inputs, as the fuzzer drives it, for a moment.

#[path = "fuzz/dht_sequence.rs"]
mod dht_sequence;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happens_the_bounds_hold(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        dht_sequence::drive(&bytes);
    }
}
