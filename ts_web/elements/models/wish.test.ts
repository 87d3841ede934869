import { describe, expect, it } from 'vitest';
import { Variable } from '../../commands.ts';
import { labelsProblem, spokenWish, UNTYPED, wishOf } from './wish.ts';

describe('what is asked for', () => {
  it('leaves out what was not typed', () => {
    expect(wishOf(UNTYPED)).toEqual({ replicas: 1 });
  });

  it('says where, and how instances are spread', () => {
    const typed = { ...UNTYPED, vendor: 'amd', labels: 'zone=a, rack=3', pack: 'true', exclusive: 'true', trust: 'true' };
    expect(wishOf(typed)).toEqual({ replicas: 1, vendor: 'amd', labels: { zone: 'a', rack: '3' }, pack: true, exclusive: true, trust_remote_code: true });
    expect(spokenWish('a/b', typed).cli).toBe('modelgrid run a/b --vendor amd --label zone=a --label rack=3 --pack --exclusive --trust-remote-code');
  });

  it('keeps values of the environment out of what is copied', () => {
    const spoken = spokenWish('a/b', { ...UNTYPED, env: 'HF_TOKEN=hf_secret=x\nnothing' });
    expect(spoken.cli).toBe('modelgrid run a/b --env HF_TOKEN');
    expect(spoken.body).toEqual({ replicas: 1, env: { HF_TOKEN: new Variable('HF_TOKEN') } });
  });

  it.each([['zone'], ['=a'], ['zone=a rack'], ['a=b=c']])('does not take %s for labels', (text) => {
    expect(labelsProblem(text)).toMatch(/is not name=value/);
  });

  it.each([[''], ['zone=a'], [' zone=a,\n rack=3 '], ['empty=']])('takes %j for labels', (text) => {
    expect(labelsProblem(text)).toBe('');
  });
});
