import { css } from 'lit';

export const tableStyles = css`
  :host { display: block; min-width: 0; }
  .bar { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; margin-bottom: 8px; }
  .bar .many { color: var(--text-3); font-size: 12px; margin-left: auto; }
  .scroll { position: relative; overflow-x: auto; border: 1px solid var(--hairline); border-radius: 8px; background: var(--s1); }
  :host([bare]) .scroll { border: 0; border-radius: 0; background: none; }
  table { width: 100%; border-collapse: collapse; }
  th, td { padding: 5px 12px; text-align: left; vertical-align: middle; }
  td { height: var(--row); border-top: 1px solid var(--hairline); overflow-wrap: break-word; }
  th { height: 32px; color: var(--text-3); font-size: 12px; line-height: 16px; font-weight: 500; white-space: nowrap; }
  :host([bare]:not([cards])) :is(th, td):first-child { padding-left: 0; }
  :host([bare]:not([cards])) :is(th, td):last-child { padding-right: 0; }
  :host(:not([cards])) td.main { min-width: 220px; }
  :host(:not([cards])) td:not(.nowrap) > .cell { max-width: 72ch; }
  /* Nobody's name makes a row as high as a page, or a column as wide; there is room around for the ring of the focus. */
  td > .cell { position: relative; max-height: 168px; margin: -3px; padding: 3px; overflow: auto; }
  :host(:not([cards])) td:not(.nowrap, .main) > .cell:has(small) { min-width: 26ch; }
  td.nowrap > .cell, td.number > .cell { max-width: 44ch; }
  .number { text-align: right; white-space: nowrap; }
  th.number button { flex-direction: row-reverse; }
  td.nowrap { white-space: nowrap; }
  td.actions { width: 1%; white-space: nowrap; text-align: right; }
  /* At hand however wide the rest is. */
  :host(:not([cards], [bare])) td.actions { position: sticky; right: 0; background: var(--back, var(--s1)); }
  td.actions mg-menu { margin-right: -6px; }
  th button {
    display: inline-flex;
    align-items: center;
    gap: 2px;
    min-height: 24px;
    padding: 0 4px;
    margin: 0 -4px;
    border: 0;
    border-radius: 4px;
    background: none;
    color: inherit;
    font: inherit;
    cursor: pointer;
  }
  th button:hover, th[aria-sort] button { color: var(--text); }
  th .icon { width: 12px; height: 12px; visibility: hidden; }
  th[aria-sort] .icon, th button:hover .icon { visibility: visible; }
  tbody tr.link { cursor: pointer; }
  tbody tr:hover { --back: var(--s2); background: var(--back); }
  tbody tr[aria-current], tbody tr.selected { --back: var(--accent-tint); background: var(--back); }
  tbody tr.gone { opacity: 0.45; }
  tbody tr.unseen { visibility: collapse; }
  .gap td { padding: 0; border: 0; }
  tbody tr.gap:hover { background: none; }
  tbody tr:focus-visible { outline-offset: -2px; }
  .check { width: 36px; padding-right: 0; }
  .engine { display: flex; flex-wrap: wrap; align-items: center; gap: 0 8px; color: var(--text-3); }
  .undo { min-height: 24px; padding: 0 6px; border: 0; border-radius: 4px; background: none; color: var(--accent); font: inherit; text-decoration: underline; cursor: pointer; }
  .none { padding: 24px; text-align: center; color: var(--text-2); }
  .pages { display: flex; justify-content: flex-end; align-items: center; gap: 8px; margin-top: 8px; color: var(--text-2); }
  .bulk {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 8px;
    padding: 2px 4px 2px 10px;
    border-radius: 6px;
    background: var(--accent-tint);
  }
  :host([cards]) mg-search { flex: 1 1 100%; }
  :host([cards]) .scroll { border: 0; background: none; overflow: visible; border-radius: 0; }
  :host([cards]) thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
  :host([cards]) table, :host([cards]) tbody, :host([cards]) td { display: block; width: auto; }
  :host([cards]) tbody { display: grid; gap: 8px; }
  :host([cards]) tbody tr { position: relative; display: grid; grid-template-columns: 1fr 1fr; column-gap: 12px; border: 1px solid var(--hairline); border-radius: 8px; padding: 8px 12px; background: var(--s1); }
  :host([cards]) td { grid-column: 1 / -1; }
  :host([cards]) td { height: auto; border: 0; padding: 3px 0; display: grid; grid-template-columns: minmax(92px, 34%) 1fr; gap: 8px; align-items: start; min-height: 26px; white-space: normal; text-align: left; }
  :host([cards]) td.number { grid-column: auto; grid-template-columns: minmax(76px, auto) 1fr; }
  :host([cards]) td.number:not(:has(+ td.number:not(.blank)), td.number:not(.blank) + td.number) { grid-column: 1 / -1; grid-template-columns: minmax(92px, 34%) 1fr; }
  :host([cards]) td > .cell { min-width: 0; max-height: 400px; overflow-wrap: anywhere; max-width: none; text-align: left; }
  :host([cards]) td::before { content: attr(data-label); color: var(--text-3); font-size: 12px; line-height: 16px; }
  :host([cards]) td.main { display: block; padding-right: 40px; font-weight: 600; }
  :host([cards][selectable]) td.main { padding-right: 72px; }
  :host([cards]) td.main small { font-weight: 400; }
  :host([cards]) td.main::before { content: none; }
  :host([cards]) td.actions { width: auto; display: flex; justify-content: flex-end; padding: 4px 0 0; }
  :host([cards]) td.actions:has(mg-menu) { position: absolute; top: 6px; right: 12px; padding: 0; min-height: 0; }
  :host([cards]) td.actions::before { content: none; }
  :host([cards]) td.check { position: absolute; top: 12px; right: 48px; width: auto; min-height: 0; padding: 0; display: block; }
  :host([cards]) td.check::before { content: none; }
  :host([cards]) tbody tr.gap { border: 0; padding: 0; background: none; }
  :host([cards]) td.blank { display: none; }
  @media print {
    .bar, .pages, :is(th, td):has(.for-actions), td.actions, .check { display: none; }
    .scroll { overflow: visible; }
    td > .cell { max-height: none; min-width: 0; overflow: visible; }
    td.nowrap { white-space: normal; }
  }
`;
