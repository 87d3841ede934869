import { css } from 'lit';

export const devicesStyles = css`
  :host { display: block; }
  .bar { display: flex; flex-wrap: wrap; align-items: center; gap: 12px; margin-bottom: 12px; }
  .bar .faint { font-size: 12px; }
  .cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: 16px; }
  article { display: flex; flex-direction: column; gap: 12px; min-width: 0; padding: 14px 16px; border: 1px solid var(--hairline); border-radius: 8px; background: var(--s1); }
  header { display: flex; align-items: center; justify-content: space-between; gap: 8px; }
  .nodes { margin-bottom: 12px; overflow-wrap: anywhere; }
  section + section { margin-top: 24px; }
  .node { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 12px; margin-bottom: 10px; }
  .node .faint { font-size: 12px; }
  :is(h2, h3) { font-size: 16px; line-height: 24px; overflow-wrap: anywhere; }
  .name { margin-top: -12px; overflow-wrap: anywhere; color: var(--text-2); }
  .line { display: flex; align-items: baseline; gap: 6px; margin-bottom: 4px; color: var(--text-2); font-size: 12px; }
  .line b { margin-left: auto; color: var(--text); font-size: 13px; font-weight: 600; }
  .legend { display: flex; gap: 14px; min-height: 20px; margin-top: 4px; color: var(--text-2); font-size: 12px; }
  .legend span::before { content: ''; display: inline-block; width: 8px; height: 8px; margin-right: 6px; border-radius: 2px; background: var(--accent); }
  .legend .others::before { background: var(--idle); }
  dl { display: grid; grid-template-columns: 1fr 1fr; gap: 6px 16px; padding-top: 10px; border-top: 1px solid var(--hairline); }
  dl div { display: flex; justify-content: space-between; gap: 8px; min-width: 0; }
  dt { color: var(--text-2); font-size: 12px; white-space: nowrap; }
  dd { min-width: 0; font-size: 12px; text-align: right; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
  .faults { padding: 6px 10px; border: 1px solid var(--critical); border-radius: 6px; background: var(--critical-tint); overflow-wrap: anywhere; }
  .faults.warning { border-color: var(--warning); background: var(--warning-tint); }
  details { font-size: 12px; }
  summary { color: var(--text-2); cursor: pointer; }
  header > mg-status { flex: none; }
  details li { display: flex; justify-content: space-between; gap: 12px; padding: 3px 0; overflow-wrap: anywhere; }
  details b { font-weight: 400; white-space: nowrap; }
  footer { display: flex; flex-wrap: wrap; gap: 4px 12px; margin-top: auto; padding-top: 10px; border-top: 1px solid var(--hairline); min-width: 0; overflow-wrap: anywhere; }
`;
