import { signal } from '@preact/signals-core';
import { expect, test } from 'vitest';
import { Finder } from './find.ts';
import { placeOf, type LogLine, type LogSource } from './lines.ts';
import { pieces } from './pieces.ts';
import { breaks, Rows } from './rows.ts';
import { plain, styled } from './sgr.ts';

test('colours of terminals become looks, and whatever else a terminal would do goes', () => {
  expect(styled('\u001b[1;31mred\u001b[0m and \u001b[92mgreen\u001b[39m.')).toEqual({
    text: 'red and green.',
    spans: [
      { from: 0, to: 3, look: 'bold red' },
      { from: 8, to: 13, look: 'green' },
    ],
  });
  expect(styled('\u001b[38;5;208morange\u001b[m \u001b[38;2;40;90;250mblue\u001b[m').spans.map((span) => span.look)).toEqual(['yellow', 'blue']);
  expect(plain('a\u001b[2K\u001b[1Gb\u001b]0;title\u0007c\u001b]8;;http://x\u001b\\d\u001bMe\u001b')).toBe('abcde');
  expect(plain('10%\r50%\r100%\r\nnext\r')).toBe('100%\nnext');
  expect(plain('safe\u202egnp.exe\u0000\u0007')).toBe('safegnp.exe');
  expect(plain('<b>&amp;</b>')).toBe('<b>&amp;</b>');
});

test('rows break at the width, at line breaks, and count letters that take two columns', () => {
  expect(breaks('abcdefghij', 4)).toEqual([0, 4, 8]);
  expect(breaks('abcd', 4)).toEqual([0]);
  expect(breaks('one two three', 9)).toEqual([0, 8]);
  expect(breaks('one twofold', 8)).toEqual([0, 8]);
  expect(breaks('ab\ncdefg', 4)).toEqual([0, 3, 7]);
  expect(breaks('ab\ncd\n', 0)).toEqual([0, 3]);
  expect(breaks('日本語日本', 4)).toEqual([0, 2, 4]);
  expect(breaks('e\u0301e\u0301e\u0301e\u0301', 4)).toEqual([0]);
  expect(breaks('😀😀😀', 4)).toEqual([0, 4]);
  expect(breaks('', 4)).toEqual([0]);
});

const line = (seq: number, text = `line ${seq}`): LogLine => ({ seq, at: seq, source: 'daemon', level: 'info', text });

function source(lines: LogLine[], head = 0, epoch = 0): LogSource & { lines: LogLine[]; head: number; epoch: number } {
  const nothing = (): void => undefined;
  return {
    lines, head, epoch, reading: false, changed: signal(0), mode: signal('live' as const), missed: signal(0), older: signal('more' as const),
    earlier: nothing, everything: nothing, later: nothing, pause: nothing, resume: nothing,
  }; // prettier-ignore
}

test('rows are found by their sums, whatever comes before, after and goes', () => {
  const log = source([line(10), line(11, 'two\nlines'), line(12)]);
  const rows = new Rows();
  expect(rows.sync(log, 0)).toEqual({ rows: 0, anew: true });
  expect(rows.total).toBe(4);
  expect([0, 1, 2, 3].map((row) => rows.at(row))).toEqual([[0, 0], [1, 0], [1, 1], [2, 0]]);

  log.lines = [line(8, 'a\nb\nc'), line(9), ...log.lines, line(13)];
  log.head = -2;
  expect(rows.sync(log, 0)).toEqual({ rows: 4, anew: false });
  expect(rows.total).toBe(9);
  expect(rows.at(4)).toEqual([2, 0]);
  expect(rows.rowOf(3)).toBe(5);

  log.lines.splice(0, 2);
  log.head = 0;
  expect(rows.sync(log, 0)).toEqual({ rows: -4, anew: false });
  expect([0, 1, 2, 3].map((row) => rows.at(row))).toEqual([[0, 0], [1, 0], [1, 1], [2, 0]]);

  log.lines.splice(1, 0, line(10.5));
  log.epoch += 1;
  expect(rows.sync(log, 0).anew).toBe(true);
  expect(rows.total).toBe(6);
});

test('a search counts lines with matches, in what is here and in what comes at both ends', async () => {
  const log = source(Array.from({ length: 5_000 }, (_, i) => line(i, i % 100 ? 'nothing' : `\u001b[31mfou\u001b[0mnd ${i}`)));
  const finder = new Finder('FOUND', false);
  finder.sync(log);
  await expect.poll(() => finder.count).toBe(50);
  expect(finder.numberOf(4_900)).toBe(50);
  expect(finder.step(4_900, 1)).toBe(0);
  expect(finder.step(0, -1)).toBe(4_900);
  expect(finder.step(150, 1)).toBe(200);
  expect(finder.ranges('a found b Found')).toEqual([[2, 7], [10, 15]]);

  log.lines.push(line(5_000, 'found at the end'));
  log.lines.unshift(line(-1, 'found before'));
  log.head -= 1;
  finder.sync(log);
  await expect.poll(() => finder.count).toBe(52);
  log.lines.splice(0, 150);
  log.head += 150;
  finder.sync(log);
  expect(finder.count).toBe(49);
  expect(finder.numberOf(200)).toBe(1);
});

test('an expression that is none says so, and finds nothing', () => {
  const finder = new Finder('(', true);
  finder.sync(source([line(1, '(')]));
  expect(finder.problem).toContain('nterminated');
  expect(finder.count).toBe(0);
  expect(new Finder('(', false).ranges('a(b')).toEqual([[1, 2]]);
  expect(new Finder('x*', true).ranges('axxb')).toEqual([[1, 3]]); // never an empty match
});

test('a part of a text keeps its looks and marks what was found in it', () => {
  const text = styled('plain \u001b[31mred text\u001b[0m');
  expect(pieces(text, 0, 6, [])).toEqual(['plain ']);
  const shown = pieces(text, 4, 10, [[8, 12]]) as readonly unknown[];
  expect(shown).toHaveLength(3); // 'n ', red 're', marked 'd '
  expect(shown[0]).toBe('n ');
});

test('the place of a number in rising lines is the first that is not below it', () => {
  const lines = [line(2), line(4), line(6)];
  expect([1, 2, 3, 6, 7].map((seq) => placeOf(lines, seq))).toEqual([0, 0, 1, 2, 3]);
});
