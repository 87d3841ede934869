import { quotient, type Series } from '../../data/series.ts';
import { few, type Line } from '../../kit/chart/lines.ts';
import { bytes, duration, number, ratio } from '../../kit/format.ts';
import type { Point } from '../../kit/sparkline.ts';

/** One chart of the view, and how its lines come out of the series. */
export interface Chart {
  readonly heading: string;
  readonly note: string;
  /** Names of series, without the prefix `model_` that those of one model have. */
  readonly names: readonly string[];
  readonly show: (value: number | null) => string;
  /** The least top of the scale. */
  readonly top: number;
  readonly binary?: boolean;
  readonly lines: (items: readonly Series[], model: string) => readonly Line[];
}

const QUANTILES = ['p50', 'p95', 'p99'] as const;

function pointsOf(items: readonly Series[], name: string, model: string): readonly Point[] {
  return items.find((one) => one.name === (model ? `model_${name}` : name))?.points ?? [];
}

function quantiles(of: string): Pick<Chart, 'names' | 'lines'> {
  return {
    names: QUANTILES.map((q) => `${of}_${q}_seconds`),
    lines: (items, model) => QUANTILES.map((q) => ({ label: q, points: pointsOf(items, `${of}_${q}_seconds`, model) })),
  };
}

const perSecond = (value: number | null): string => (value === null ? '—' : `${number(value)} /s`);

export const CHARTS: readonly Chart[] = [
  {
    heading: 'Request rate', note: 'answered, per second', names: ['requests_per_second'], show: perSecond, top: 1,
    lines: (items, model) => [{ label: 'requests', points: pointsOf(items, 'requests_per_second', model) }],
  },
  {
    heading: 'Error rate', note: 'share answered with 5xx', names: ['errors_per_second'], show: ratio, top: 0.02,
    lines: (items, model) => [
      { label: 'errors', points: quotient(pointsOf(items, 'errors_per_second', model), pointsOf(items, 'requests_per_second', model)) },
    ],
  },
  { heading: 'Latency', note: 'to the last byte of the answer', show: duration, top: 0.05, ...quantiles('latency') },
  { heading: 'Time to first token', note: 'of streams', show: duration, top: 0.05, ...quantiles('ttft') },
  {
    heading: 'Model throughput', note: 'tokens generated, per second', names: [], show: perSecond, top: 10,
    lines: (items) =>
      few(items.filter((one) => one.name === 'model_output_tokens_per_second').map((one) => ({ label: one.labels['model'] ?? '', points: one.points }))),
  },
  {
    heading: 'VRAM occupancy', note: 'memory in use', names: [], show: bytes, top: 2 ** 30, binary: true,
    lines: (items, model) => few(model ? byLabel(items, 'deployment_vram_used_bytes', ['deployment']) : byLabel(items, 'gpu_vram_used_bytes', ['node', 'gpu'])),
  },
]; // prettier-ignore

function byLabel(items: readonly Series[], name: string, labels: readonly string[]): readonly Line[] {
  return items.filter((one) => one.name === name).map((one) => ({ label: labels.map((label) => one.labels[label]).join(' '), points: one.points }));
}

/** The names of all series that the charts need, of one model or of the whole fleet. */
export function namesOf(model: string): readonly string[] {
  const names = CHARTS.flatMap((chart) => chart.names);
  if (model) return [...names.map((name) => `model_${name}`), 'model_output_tokens_per_second', 'deployment_vram_used_bytes'];
  return [...names, 'model_output_tokens_per_second', 'gpu_vram_used_bytes'];
}
