import { expect, test } from 'vitest';
import { natural } from './natural.ts';

test('orders as a collator for people does', () => {
  const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });
  const texts = ['', 'a', 'A', 'ä', 'B', 'node-2', 'Node-10', 'node-1', 'node-01b', 'node', '7', '10', '10b', 'gpu 1 node 2', 'gpu 1 node 10'];
  for (const a of texts) {
    for (const b of texts) expect(Math.sign(natural(a, b)), `${a} and ${b}`).toBe(Math.sign(collator.compare(a, b)));
  }
});
