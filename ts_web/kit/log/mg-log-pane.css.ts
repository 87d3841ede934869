import { css } from 'lit';

export const paneStyles = css`
  :host { display: block; position: relative; min-height: 0; }
  .pane { position: absolute; inset: 0; overflow: auto; overscroll-behavior: contain; overflow-anchor: none; background: var(--bg); font: 12px/17px var(--mono); }
  .pane:focus-visible { outline-offset: -2px; }
  .space { position: relative; min-width: 100%; width: max-content; }
  ol { position: absolute; inset: 0 auto auto 0; min-width: 100%; }
  li { display: flex; gap: 1ch; height: 17px; padding: 0 10px; white-space: pre; contain: layout style; }
  li > * { flex: none; }
  li.warning { background: var(--warning-tint); }
  li.error { background: var(--critical-tint); }
  li.gap { color: var(--text-2); font-style: italic; background: var(--s3); }
  li:hover { background: var(--s3); }
  li.chosen { background: var(--accent-tint); box-shadow: inset 3px 0 var(--accent); }
  .at, .level, .from { overflow: hidden; user-select: none; color: var(--text-3); }
  .at { width: 8ch; text-decoration: none; }
  a.at:hover { color: var(--text); text-decoration: underline; }
  .level { width: 7ch; }
  .warning .level { color: var(--warning); }
  .error .level { color: var(--critical); }
  .from { width: 18ch; text-overflow: ellipsis; color: var(--text-2); }
  .text { unicode-bidi: isolate; color: var(--text); }
  .debug .text { color: var(--text-2); }
  .text mark { border-radius: 2px; background: var(--mark); color: var(--mark-text); }
  .chosen mark { outline: 1px solid currentcolor; }
  .bold { font-weight: 700; }
  .dim { color: var(--text-2); }
  .italic { font-style: italic; }
  .underline { text-decoration: underline; }
  .strike { text-decoration: line-through; }
  .black { color: var(--text-3); }
  .red { color: var(--critical); }
  .green { color: var(--ok); }
  .yellow { color: var(--warning); }
  .blue, .cyan { color: var(--accent); }
  .magenta { color: var(--maintenance); }
  .inverse { background: var(--text); color: var(--bg); }
  .measure { position: absolute; visibility: hidden; font: 12px/17px var(--mono); }
  :host([narrow]) li { padding: 0 6px; }
  :host([narrow]) .at { display: none; }
  :host([narrow]) .level { width: 1ch; }
  :host([narrow]) .from { width: 8ch; }
  @media (forced-colors: active) { mark { forced-color-adjust: none; } }
  @media print { .pane { position: static; overflow: visible; } ol { position: static; } .space { height: auto !important; width: auto; } li { height: auto; white-space: pre-wrap; } }
`;
