import { html, type TemplateResult } from 'lit';

/** The mark: four GPUs of a grid, two of them at work. */
export function brand(): TemplateResult {
  return html`<svg viewBox="0 0 24 24" width="20" height="20" fill="var(--accent)" aria-hidden="true">
    <rect x="2" y="2" width="9" height="9" rx="2.2" />
    <rect x="13" y="2" width="9" height="9" rx="2.2" opacity=".5" />
    <rect x="2" y="13" width="9" height="9" rx="2.2" opacity=".5" />
    <rect x="13" y="13" width="9" height="9" rx="2.2" />
  </svg>`;
}
