import { css } from 'lit';

export const settingsStyles = css`
  :host { display: block; padding-bottom: 64px; }
  .about { margin-bottom: 16px; color: var(--text-2); overflow-wrap: anywhere; }
  .grid { columns: 440px 2; column-gap: 16px; }
  .grid mg-card { break-inside: avoid; margin-bottom: 16px; }
  .fields { display: grid; gap: 16px; padding-bottom: 8px; }
  .setting { display: grid; gap: 4px; justify-items: start; }
  .setting mg-field { width: 100%; }
  .banner { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 16px; margin-bottom: 12px; padding: 10px 14px; border: 1px solid; border-radius: 8px; }
  .banner p { flex: 1 1 300px; min-width: 0; overflow-wrap: anywhere; color: var(--text); }
  .banner.warning { border-color: var(--warning); background: var(--warning-tint); }
  .banner.critical { border-color: var(--critical); background: var(--critical-tint); }
  .save { position: fixed; z-index: 8; right: 24px; bottom: 16px; display: flex; align-items: center; gap: 10px; padding: 10px 14px; border: 1px solid var(--control); border-radius: 8px; background: var(--s3); box-shadow: var(--shadow); }
  @media (max-width: 760px) { .save { right: 12px; left: 12px; justify-content: flex-end; } }
`;
