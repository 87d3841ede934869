const PARTS = /\d+|\D+/g;
const MARKS = /\p{M}+/gu;

/**
 * Compare two texts as people order them: `node-2` before `node-10`, neither case nor accents matter.
 * As `Intl.Collator` does with `numeric` and `sensitivity: 'base'`, whose first use in a page takes as long as drawing it.
 */
export function natural(a: string, b: string): number {
  if (a === b) return 0;
  const [left, right] = [parts(a), parts(b)];
  for (let at = 0; at < left.length && at < right.length; at += 1) {
    const [one, other] = [left[at]!, right[at]!];
    const difference = Number(one) - Number(other); // not a number where either is a word
    if (one === other || difference === 0) continue;
    return difference || (one < other ? -1 : 1);
  }
  return left.length - right.length;
}

function parts(text: string): readonly string[] {
  return text.normalize('NFD').replace(MARKS, '').toLowerCase().match(PARTS) ?? [];
}
