import { css } from 'lit';

export const logStyles = css`
  :host { container-type: inline-size; display: flex; flex-direction: column; min-height: 0; min-width: 0; border: 1px solid var(--hairline); border-radius: 8px; background: var(--s1); overflow: hidden; }
  .bar { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 6px; padding: 5px 6px; border-bottom: 1px solid var(--hairline); }
  .find { position: relative; display: flex; align-items: center; flex: 0 1 300px; min-width: 170px; }
  .find input { min-height: 28px; padding: 3px 34px 3px 28px; font-size: 13px; }
  .find > svg.icon { position: absolute; left: 8px; width: 14px; height: 14px; color: var(--text-3); }
  .find button { position: absolute; right: 2px; min-height: 24px; min-width: 28px; padding: 0 4px; font: 12px/17px var(--mono); }
  [aria-pressed='true'] { border-color: var(--control) !important; background: var(--accent-tint) !important; color: var(--text) !important; }
  .count { color: var(--text-2); font-size: 12px; white-space: nowrap; }
  .problem { flex-basis: 100%; color: var(--critical); font-size: 12px; overflow-wrap: anywhere; }
  .space { flex: 1; }
  .middle { position: relative; flex: 1; display: flex; flex-direction: column; min-height: 0; }
  mg-log-pane { flex: 1; }
  .pill { position: absolute; left: 50%; bottom: 12px; translate: -50% 0; border-radius: 999px; box-shadow: var(--shadow); }
  .foot { display: flex; flex-wrap: wrap; align-items: center; gap: 2px 10px; min-height: 28px; padding: 2px 10px; border-top: 1px solid var(--hairline); color: var(--text-2); font-size: 12px; line-height: 16px; }
  .foot button, .foot a { font-size: 12px; }
  .foot .btn { min-height: 24px; padding: 1px 8px; }
  @container (max-width: 720px) { .find { flex: 1 1 140px; min-width: 140px; } .bar .word, .space { display: none; } }
  @media print { .bar, .foot, .pill { display: none; } }
`;
