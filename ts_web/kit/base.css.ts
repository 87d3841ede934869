import { css } from 'lit';

/** Shared by every element: reset, type, links, buttons, inputs, focus. */
export const base = css`
  :host {
    box-sizing: border-box;
  }
  :host([hidden]),
  [hidden] {
    display: none !important;
  }
  *,
  *::before,
  *::after {
    box-sizing: border-box;
  }
  h1,
  h2,
  h3,
  p,
  dl,
  dd,
  ol,
  ul,
  figure {
    margin: 0;
    padding: 0;
  }
  ol,
  ul {
    list-style: none;
  }
  h2 {
    font-size: 13px;
    line-height: 20px;
    font-weight: 600;
  }
  a {
    color: var(--accent);
    text-underline-offset: 2px;
  }
  a:not(:hover) {
    text-decoration-color: color-mix(in srgb, currentcolor 45%, transparent);
  }
  :focus-visible {
    outline: 2px solid var(--focus);
    outline-offset: 2px;
    border-radius: 4px;
  }
  svg.icon {
    width: 16px;
    height: 16px;
    flex: none;
    fill: none;
    stroke: currentcolor;
    stroke-width: 2;
    stroke-linecap: round;
    stroke-linejoin: round;
    vertical-align: -3px;
  }
  .btn {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 6px;
    min-height: 28px;
    padding: 3px 10px;
    border: 1px solid var(--control);
    border-radius: 6px;
    background: var(--s2);
    color: var(--text);
    font: 500 13px/20px var(--font);
    text-decoration: none;
    white-space: nowrap;
    cursor: pointer;
    transition: background var(--motion-fast);
  }
  .btn:hover:not(:disabled) {
    background: var(--s3);
  }
  .btn:disabled {
    opacity: 0.55;
    cursor: default;
  }
  .btn.primary {
    background: var(--primary-fill);
    border-color: transparent;
    color: #fff;
  }
  .btn.danger {
    background: var(--danger-fill);
    border-color: transparent;
    color: #fff;
  }
  .btn.primary:hover:not(:disabled),
  .btn.danger:hover:not(:disabled) {
    filter: brightness(1.08);
  }
  .btn.ghost {
    background: transparent;
    border-color: transparent;
    color: var(--text-2);
  }
  .btn.ghost:hover:not(:disabled) {
    background: var(--s3);
    color: var(--text);
  }
  .btn.icon-only {
    padding: 3px 5px;
    min-width: 28px;
  }
  input,
  select,
  textarea {
    width: 100%;
    min-height: 32px;
    padding: 5px 10px;
    border: 1px solid var(--control);
    border-radius: 6px;
    background: var(--bg);
    color: var(--text);
    font: 14px/20px var(--font);
  }
  input[type='checkbox'],
  input[type='radio'] {
    width: 16px;
    min-height: 16px;
    height: 16px;
    margin: 0;
    accent-color: var(--primary-fill);
  }
  input::placeholder,
  textarea::placeholder {
    color: var(--text-3);
    opacity: 1;
  }
  input[aria-invalid='true'] {
    border-color: var(--critical);
  }
  .mono {
    font: 12px/17px var(--mono);
  }
  kbd {
    padding: 0 4px;
    border: 1px solid var(--hairline);
    border-radius: 4px;
    color: var(--text-2);
    font: 11px/16px var(--mono);
  }
  .muted {
    color: var(--text-2);
  }
  .faint {
    color: var(--text-3);
  }
  /* At most four lines of what somebody else has named. */
  .clamp {
    display: -webkit-box;
    -webkit-box-orient: vertical;
    -webkit-line-clamp: 4;
    overflow: hidden;
    overflow-wrap: anywhere;
  }
  .number {
    text-align: right;
  }
  .visually-hidden {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  @media (pointer: coarse) {
    .btn {
      min-height: 44px;
    }
    input,
    select {
      min-height: 44px;
    }
    .btn.icon-only {
      min-width: 44px;
    }
  }
`;
