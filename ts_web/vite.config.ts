import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';

const OUT = '.out';

/** Writes `.gz` and `.br` beside every file worth it, so that the daemon never compresses. */
function precompress(): Plugin {
  return {
    name: 'precompress',
    apply: 'build',
    closeBundle() {
      for (const entry of readdirSync(join(import.meta.dirname, OUT), { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || /\.(gz|br)$/.test(entry.name)) continue;
        const path = join(entry.parentPath, entry.name);
        const plain = readFileSync(path);
        const gz = gzipSync(plain, { level: 9 });
        if (gz.length >= plain.length) continue;
        writeFileSync(`${path}.gz`, gz);
        const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length };
        writeFileSync(`${path}.br`, brotliCompressSync(plain, { params }));
      }
    },
  };
}

/** Takes the indentation out of `css` templates: minifiers leave the text of templates alone. */
function squeezeCss(): Plugin {
  return {
    name: 'squeeze-css',
    apply: 'build',
    transform(code, id) {
      if (!id.endsWith('.ts') || !code.includes('css`')) return null;
      const squeezed = code.replace(/css`[^`]*`/g, (template) =>
        template
          .replace(/\/\*[^]*?\*\//g, '')
          .replace(/\s+/g, ' ')
          .replace(/ ?([{};,]) ?/g, '$1')
          .replace(/: /g, ':'),
      );
      return { code: squeezed, map: null };
    },
  };
}

export default defineConfig({
  root: import.meta.dirname,
  base: '/',
  plugins: [squeezeCss(), precompress()],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    manifest: 'manifest.json',
    reportCompressedSize: false,
  },
  worker: { format: 'es' },
});
