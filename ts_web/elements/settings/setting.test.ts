import { describe, expect, test } from 'vitest';
import { parsed, patchOf, settingOf, textOf, valueAt, type Schema, type Setting } from './setting.ts';

const SCHEMA: Schema = {
  $defs: {
    Api: {
      properties: {
        port: { type: 'integer', description: 'A port.' },
        rateLimit: { anyOf: [{ type: 'integer' }, { type: 'null' }] },
        cors: { type: 'array', items: { type: 'string' } },
        tls: { anyOf: [{ $ref: '#/$defs/Tls' }, { type: 'null' }] },
      },
    },
    Tls: { type: 'object', properties: {} },
    Role: { type: 'string', enum: ['standalone', 'worker'] },
  },
  properties: {
    api: { $ref: '#/$defs/Api' },
    cluster: { properties: { role: { $ref: '#/$defs/Role' }, sharedSecret: { anyOf: [{ type: 'string' }, { type: 'null' }] } } },
    gpus: { properties: { autoDetect: { type: 'boolean' }, simulate: { anyOf: [{ type: 'boolean' }, { type: 'integer' }] } } },
  },
};

const of = (key: string): Setting => settingOf(SCHEMA, key);

describe('the field of a key', () => {
  test.each([
    ['api.port', 'number'],
    ['api.rateLimit', 'number'],
    ['api.cors', 'lines'],
    ['api.tls', 'json'],
    ['cluster.role', 'select'],
    ['cluster.sharedSecret', 'secret'],
    ['gpus.autoDetect', 'switch'],
    ['gpus.simulate', 'json'],
  ])('%s is a %s', (key, kind) => expect(of(key).kind).toBe(kind));

  test('knows help, choices and whether it may be empty', () => {
    expect(of('api.port').help).toBe('A port.');
    expect(of('cluster.role').options).toEqual(['standalone', 'worker']);
    expect([of('api.rateLimit').nullable, of('api.port').nullable]).toEqual([true, false]);
  });
});

test.each([
  ['api.port', 8080],
  ['api.rateLimit', null],
  ['api.cors', ['https://a', 'https://b']],
  ['gpus.autoDetect', false],
  ['gpus.simulate', 2],
])('%s: what is shown of a value gives the value again', (key, value) => {
  expect(parsed(of(key), textOf(of(key), value))).toEqual(value);
});

test('a secret is never shown', () => expect(textOf(of('cluster.sharedSecret'), '••••••••')).toBe(''));

test('broken JSON is refused here already', () => expect(() => parsed(of('api.tls'), '{"a":')).toThrow(SyntaxError));

test('keys become the nested document of a merge patch', () => {
  const patch = patchOf(new Map<string, unknown>([['api.port', 1], ['api.cors', []], ['logLevel', 'debug']]));
  expect(patch).toEqual({ api: { port: 1, cors: [] }, logLevel: 'debug' });
  expect(valueAt(patch, 'api.port')).toBe(1);
  expect(valueAt(patch, 'gpus.simulate')).toBeUndefined();
});
