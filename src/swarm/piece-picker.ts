import { type Bitmap, lowestBit } from './bitmap.ts';
import type { Random } from './random.ts';

/**
 * Picks the piece with the lowest score among those both wanted and held; ties go to chance, so that receivers that
 * know the same do not all pick the same.
 *
 * Walks 32 pieces at a time from a random place and stops at the first piece that scores `floor`, which nothing can
 * undercut. A whole walk over 1,024 pieces takes a few microseconds.
 *
 * @returns undefined when no wanted piece is held.
 */
export function pickPiece(
  wanted: Bitmap,
  held: Bitmap,
  score: (piece: number) => number,
  floor: number,
  random: Random,
): number | undefined {
  const words = wanted.words.length;
  const firstWord = Math.floor(random() * words);
  const firstBit = Math.floor(random() * 32);
  let best: number | undefined;
  let bestScore = Number.POSITIVE_INFINITY;
  for (let step = 0; step < words; step++) {
    const at = (firstWord + step) % words;
    const common = (wanted.words[at] ?? 0) & (held.words[at] ?? 0);
    for (let word = rotateRight(common, firstBit); word !== 0; word &= word - 1) {
      const piece = at * 32 + ((lowestBit(word) + firstBit) & 31);
      const pieceScore = score(piece);
      if (pieceScore >= bestScore) continue;
      if (pieceScore <= floor) return piece;
      best = piece;
      bestScore = pieceScore;
    }
  }
  return best;
}

function rotateRight(word: number, bits: number): number {
  return (word >>> bits) | (word << ((32 - bits) & 31));
}
