import { expect, test } from 'vitest';
import { curl, quoted } from './commands.ts';

test('quotes what a shell would take apart', () => {
  expect(quoted('meta-llama/Llama-3.1-8B')).toBe('meta-llama/Llama-3.1-8B');
  expect(quoted("it's $HOME; rm")).toBe(`'it'\\''s $HOME; rm'`);
  expect(quoted('')).toBe("''");
});

test('writes a call with its body and without a secret', () => {
  const call = curl({ cli: '', method: 'PUT', path: 'targets/a b', body: { replicas: 2 } }, 'http://host:1');
  expect(call).toBe(
    `curl -X PUT 'http://host:1/v1/_ui/targets/a b' -H "Authorization: Bearer $MODELGRID_TOKEN" -H 'Content-Type: application/json' -d '{"replicas":2}'`,
  );
});
