import { css } from 'lit';

export const shellStyles = css`
  :host { display: grid; grid-template-columns: auto minmax(0, 1fr); min-height: 100dvh; }
  nav[aria-label='Skip'] { position: absolute; }
  .skip { position: absolute; left: 8px; top: -60px; z-index: 40; }
  .skip:focus { top: 8px; }
  .main { display: flex; flex-direction: column; min-width: 0; }
  header {
    position: sticky;
    top: 0;
    z-index: 5;
    display: flex;
    align-items: center;
    gap: 8px;
    min-height: 48px;
    padding: 6px 20px;
    border-bottom: 1px solid var(--hairline);
    background: var(--bg);
  }
  .place { margin-right: 4px; font-weight: 600; font-size: 14px; white-space: nowrap; }
  mg-tabs { min-width: 0; }
  .space { flex: 1; }
  .search { color: var(--text-2); }
  main { flex: 1; min-width: 0; padding: 16px 20px 32px; outline: none; }
  .only-narrow { display: none; }
  .frozen {
    display: flex;
    align-items: center;
    flex-wrap: wrap;
    gap: 12px;
    padding: 6px 20px;
    border-bottom: 1px solid var(--hairline);
    background: var(--accent-tint);
  }
  dialog {
    width: min(280px, 86vw);
    height: 100dvh;
    max-height: none;
    margin: 0;
    padding: 0;
    border: 0;
    border-right: 1px solid var(--control);
    background: var(--s1);
    color: var(--text);
  }
  dialog::backdrop { background: var(--backdrop); }
  @media (max-width: 1100px) {
    .search kbd { display: none; }
  }
  @media (max-width: 760px) {
    :host { grid-template-columns: minmax(0, 1fr); }
    mg-rail:not([full]) { display: none; }
    .only-narrow { display: inline-flex; }
    header { flex-wrap: wrap; padding: 6px 12px; }
    mg-tabs { order: 9; flex-basis: 100%; margin: 0 -4px; }
    .search span { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
    main { padding: 12px 12px 32px; }
    .frozen { padding: 6px 12px; }
  }
  @media print {
    mg-rail, header { display: none; }
    :host { display: block; }
  }
`;
