import { expect, test } from 'vitest';
import { FrameReader } from './frames.ts';

const TEXT = 'id: e-1\nevent: change\ndata: {"a":\ndata: 1}\n\n: a comment\n\nevent: beat\r\ndata:x\r\n\r\nevent: last\rdata: y\r\r';

test('finds the same frames wherever the text is cut', () => {
  const whole = new FrameReader().read(TEXT + '\n');
  expect(whole).toEqual([
    { id: 'e-1', event: 'change', data: '{"a":\n1}' },
    { id: '', event: 'beat', data: 'x' },
    { id: '', event: 'last', data: 'y' },
  ]);
  for (let at = 1; at < TEXT.length; at += 1) {
    const reader = new FrameReader();
    expect([...reader.read(TEXT.slice(0, at)), ...reader.read(TEXT.slice(at) + '\n')], `cut at ${at}`).toEqual(whole);
  }
});

test('keeps an unfinished frame until its end comes', () => {
  const reader = new FrameReader();
  expect(reader.read('event: beat\ndata: 1\n')).toEqual([]);
  expect(reader.read('\n')).toEqual([{ id: '', event: 'beat', data: '1' }]);
});
