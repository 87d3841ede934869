import { html, type TemplateResult } from 'lit';
import type { Styled } from './sgr.ts';

type Range = readonly [from: number, to: number];

/** Return a part of a text with its looks, and what was found in it marked. */
export function pieces({ text, spans }: Styled, from: number, to: number, found: readonly Range[]): unknown {
  const inside = found.filter(([begin, end]) => end > from && begin < to);
  if (spans.length === 0 && inside.length === 0) return text.slice(from, to);
  const cuts = new Set([from, to]);
  for (const span of spans) for (const at of [span.from, span.to]) if (at > from && at < to) cuts.add(at);
  for (const range of inside) for (const at of range) if (at > from && at < to) cuts.add(at);
  const sorted = [...cuts].sort((a, b) => a - b);
  return sorted.slice(0, -1).map((begin, i): TemplateResult | string => {
    const part = text.slice(begin, sorted[i + 1]);
    const look = spans.find((span) => span.from <= begin && begin < span.to)?.look ?? '';
    const marked = inside.some(([start, end]) => start <= begin && begin < end);
    if (marked) return html`<mark class=${look}>${part}</mark>`;
    return look ? html`<span class=${look}>${part}</span>` : part;
  });
}
