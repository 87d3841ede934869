import type { LogLine } from './lines.ts';
import { plain } from './sgr.ts';

/** Lines are put together in parts, so that 200,000 of them need no text of 40 MB. */
const PART = 5_000;

const FORMS = {
  ndjson: {
    type: 'application/x-ndjson',
    ending: 'ndjson',
    write: ({ seq, at, source, level, text, message = text, fields = {} }: LogLine) => JSON.stringify({ seq, at, source, level, message, fields }),
  },
  text: {
    type: 'text/plain',
    ending: 'log',
    write: ({ at, source, level, text }: LogLine) => `${new Date(at * 1000).toISOString()} ${source} ${level} ${plain(text)}`,
  },
} as const;

/** Hand lines to the reader as a file. */
export function saveLines(lines: readonly LogLine[], form: keyof typeof FORMS): void {
  const { type, ending, write } = FORMS[form];
  const parts: string[] = [];
  for (let from = 0; from < lines.length; from += PART) parts.push(`${lines.slice(from, from + PART).map(write).join('\n')}\n`);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.download = `modelgrid-log-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
