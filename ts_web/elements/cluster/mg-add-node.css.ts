import { css } from 'lit';

export const addNodeStyles = css`
  mg-dialog { --dialog-width: 680px; }
  p { margin-bottom: 12px; overflow-wrap: anywhere; }
  h3 { margin: 14px 0 6px; font-size: 13px; line-height: 20px; font-weight: 600; }
  mg-command + p { margin-top: 12px; }
  .validity { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: 8px 12px; margin-bottom: 12px; padding: 8px 8px 8px 14px; border: 1px solid var(--hairline); border-radius: 8px; background: var(--s2); }
  .validity.over { border-color: var(--warning); background: var(--warning-tint); }
  .left { font-variant-numeric: tabular-nums; }
  .note, .alert { padding: 8px 12px; border: 1px solid var(--warning); border-radius: 6px; background: var(--warning-tint); }
  .alert { border-color: var(--critical); background: var(--critical-tint); }
  .spent { opacity: 0.5; }
  .print { margin: 14px 0 0; font-size: 12px; line-height: 17px; }
  .waiting { margin: 14px 0 0; padding-top: 12px; border-top: 1px solid var(--hairline); }
`;
