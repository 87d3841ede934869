import { expect, test } from 'vitest';
import { curl, quoted, Variable } from './commands.ts';

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

test('lets the shell put in what is not copied, within quotes of its own', () => {
  const call = curl({ cli: '', method: 'PUT', path: 'targets/a', body: { args: ["it's $HOME"], env: { HF_TOKEN: new Variable('HF_TOKEN') } } }, 'http://host:1');
  expect(call).toMatch(/^: "\$\{HF_TOKEN:\?\}" && curl -X PUT /);
  expect(call).toContain(`-d '{"args":["it'\\''s $HOME"],"env":{"HF_TOKEN":"'"$(printf %s "$HF_TOKEN" | sed 's/[\\\\"]/\\\\&/g')"'"}}'`);
});

test.each([
  ['HF_TOKEN', 'HF_TOKEN'],
  ['a b;rm', 'a_b_rm'],
  ['1st', '_1st'],
])('calls the variable of %j %s', (name, called) => expect(new Variable(name).name).toBe(called));
