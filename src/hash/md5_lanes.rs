//! MD5 of several texts at the same time.
//!
//! Each step of the algorithm waits for the one before, so a single text leaves most of a processor idle. Here a vector
//! has the same word of four texts, and there are several vectors. The algorithm, its shifts and its constants are those
//! of RFC 1321, section 3.4.

use std::array::from_fn;

use wide::u32x4;

/// Texts of a vector.
pub(super) const WIDTH: usize = 4;
const BLOCK: usize = 64;

/// A word of each text.
type Word<const VECTORS: usize> = [u32x4; VECTORS];
/// The four words that a text is hashed into.
type State<const VECTORS: usize> = [Word<VECTORS>; 4];

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The whole part of 2³² × |sin(i + 1)|.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// The hashes of these texts, whatever their lengths. It takes as long as if all were as long as the longest.
pub(super) fn digests<const VECTORS: usize>(
    texts: &[[&[u8]; WIDTH]; VECTORS],
) -> [[[u8; 16]; WIDTH]; VECTORS] {
    let blocks = texts.map(|texts| texts.map(|text| (text.len() + 1 + size_of::<u64>()).div_ceil(BLOCK)));
    let mut state = START.map(|word| [u32x4::splat(word); VECTORS]);
    let mut digests = [[[0; 16]; WIDTH]; VECTORS];
    let mut padded = [[[0; BLOCK]; WIDTH]; VECTORS];
    for block in 0..blocks.as_flattened().iter().copied().max().unwrap_or_default() {
        for ((text, blocks), padded) in
            texts.as_flattened().iter().zip(blocks.as_flattened()).zip(padded.as_flattened_mut())
        {
            if block < *blocks {
                pad(text, block, padded);
            }
        }
        compress(&mut state, &words(&padded));
        for (vector, (digests, blocks)) in digests.iter_mut().zip(&blocks).enumerate() {
            for (lane, (digest, blocks)) in digests.iter_mut().zip(blocks).enumerate() {
                if *blocks == block + 1 {
                    for (word, bytes) in state.iter().zip(digest.chunks_exact_mut(size_of::<u32>())) {
                        bytes.copy_from_slice(&word[vector].to_array()[lane].to_le_bytes());
                    }
                }
            }
        }
    }
    digests
}

/// A block of a text, after which come a bit, zeros, and the number of bits in the last eight bytes of the last block.
fn pad(text: &[u8], block: usize, padded: &mut [u8; BLOCK]) {
    let start = block * BLOCK;
    if let Some(whole) = text.get(start..start + BLOCK) {
        padded.copy_from_slice(whole);
        return;
    }
    let rest = text.get(start..).unwrap_or_default();
    let (own, zeros) = padded.split_at_mut(rest.len());
    own.copy_from_slice(rest);
    zeros.fill(0);
    if start <= text.len() {
        zeros[0] = 0x80;
    }
    let bits = BLOCK - size_of::<u64>();
    if rest.len() < bits {
        padded[bits..].copy_from_slice(&(8 * text.len() as u64).to_le_bytes());
    }
}

/// The words of the texts' blocks.
fn words<const VECTORS: usize>(blocks: &[[[u8; BLOCK]; WIDTH]; VECTORS]) -> [Word<VECTORS>; 16] {
    let mut words = [[u32x4::ZERO; VECTORS]; 16];
    for (vector, texts) in blocks.iter().enumerate() {
        for (quarter, words) in words.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            let four = |text: &[u8; BLOCK]| {
                let bytes = text.as_chunks::<{ size_of::<u32>() }>().0;
                u32x4::new(from_fn(|word| u32::from_le_bytes(bytes[WIDTH * quarter + word])))
            };
            for (word, turned) in words.iter_mut().zip(u32x4::transpose(texts.each_ref().map(four))) {
                word[vector] = turned;
            }
        }
    }
    words
}

fn compress<const VECTORS: usize>(state: &mut State<VECTORS>, words: &[Word<VECTORS>; 16]) {
    let mut new = *state;
    new = round::<0, 7, 12, 17, 22, VECTORS>(new, words);
    new = round::<1, 5, 9, 14, 20, VECTORS>(new, words);
    new = round::<2, 4, 11, 16, 23, VECTORS>(new, words);
    new = round::<3, 6, 10, 15, 21, VECTORS>(new, words);
    for (word, new) in state.iter_mut().zip(new) {
        *word = from_fn(|vector| word[vector] + new[vector]);
    }
}

/// Sixteen steps; the shifts are constants so that each is one instruction.
#[inline(always)]
fn round<const ROUND: usize, const A: u32, const B: u32, const C: u32, const D: u32, const VECTORS: usize>(
    mut state: State<VECTORS>,
    words: &[Word<VECTORS>; 16],
) -> State<VECTORS> {
    let word = |i: usize| match ROUND {
        0 => &words[i],
        1 => &words[(5 * i + 1) % 16],
        2 => &words[(3 * i + 5) % 16],
        _ => &words[(7 * i) % 16],
    };
    let sine = |i: usize| SINES[16 * ROUND + i];
    for i in [0, 4, 8, 12] {
        state = step::<ROUND, A, VECTORS>(state, word(i), sine(i));
        state = step::<ROUND, B, VECTORS>(state, word(i + 1), sine(i + 1));
        state = step::<ROUND, C, VECTORS>(state, word(i + 2), sine(i + 2));
        state = step::<ROUND, D, VECTORS>(state, word(i + 3), sine(i + 3));
    }
    state
}

#[inline(always)]
fn step<const ROUND: usize, const SHIFT: u32, const VECTORS: usize>(
    [a, b, c, d]: State<VECTORS>,
    word: &Word<VECTORS>,
    sine: u32,
) -> State<VECTORS> {
    let next = from_fn(|vector| {
        let [a, b, c, d] = [a[vector], b[vector], c[vector], d[vector]];
        let mixed = match ROUND {
            0 => d ^ (b & (c ^ d)),
            1 => c ^ (d & (b ^ c)),
            2 => b ^ c ^ d,
            _ => c ^ (b | !d),
        };
        let sum = mixed + (a + (word[vector] + u32x4::splat(sine)));
        b + ((sum << SHIFT) | (sum >> (u32::BITS - SHIFT)))
    });
    [d, next, b, c]
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5};

    use super::*;

    fn check<const VECTORS: usize>(texts: &[[&[u8]; WIDTH]; VECTORS]) {
        let expected = texts.map(|texts| texts.map(|text| <[u8; 16]>::from(Md5::digest(text))));
        assert_eq!(digests(texts), expected, "{:?}", texts.map(|texts| texts.map(<[u8]>::len)));
    }

    #[test]
    fn every_length_around_the_ends_of_blocks() {
        let bytes: Vec<u8> = (0..400_u32).map(|i| (i * 37 + i / 7) as u8).collect();
        for length in 0..300 {
            check::<1>(&from_fn(|_| from_fn(|lane| &bytes[lane..lane + length])));
            // Texts that end in different blocks.
            check::<4>(&from_fn(|vector| {
                from_fn(|lane| &bytes[..(length * (WIDTH * vector + lane + 3)) % 301])
            }));
        }
    }

    #[test]
    fn sines() {
        for (i, sine) in SINES.into_iter().enumerate() {
            assert_eq!(sine, (f64::from(2).powi(32) * (i as f64 + 1.0).sin().abs()) as u32, "{i}");
        }
    }
}
