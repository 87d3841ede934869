import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';

const OUT = '.out';

/** What runs as soon as it is there. */
const AT_ONCE = /^(app|mg-overview-stats)-.*\.js$/;
/** Chromium compiles a file that begins so while it loads, beside the main thread. */
const COMPILE_EARLY = '//# allFunctionsCalledOnLoad\n';

/** Writes `.gz` and `.br` beside every file worth it, so that the daemon never compresses. */
function precompress(): Plugin {
  return {
    name: 'precompress',
    apply: 'build',
    closeBundle() {
      for (const entry of readdirSync(join(import.meta.dirname, OUT), { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || /\.(gz|br)$/.test(entry.name)) continue;
        const path = join(entry.parentPath, entry.name);
        if (AT_ONCE.test(entry.name)) writeFileSync(path, COMPILE_EARLY + readFileSync(path, 'utf8'));
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

/** Lets the landing page's own code come together with the shell, instead of after it. */
function preloadLanding(): Plugin {
  return {
    name: 'preload-landing',
    apply: 'build',
    transformIndexHtml: (_, { bundle }) =>
      Object.keys(bundle ?? {})
        .filter((file) => /\/mg-overview-stats-.*\.js$/.test(file))
        .map((file) => ({ tag: 'link', attrs: { rel: 'modulepreload', crossorigin: true, href: `/${file}` }, injectTo: 'head' })),
  };
}

/** A module's id and what tells of it. */
type About = (id: string) => { readonly importedIds: readonly string[] } | null;

/** What a module needs before it can run, itself included. */
function needs(id: string, about: About, found = new Set<string>()): ReadonlySet<string> {
  if (found.has(id)) return found;
  found.add(id);
  for (const next of about(id)?.importedIds ?? []) needs(next, about, found);
  return found;
}

/**
 * The shell, with every common part that the landing page uses, in one file instead of a dozen: each costs its share of a
 * round trip, and a compilation.
 */
function landing(id: string, about: About): string | null {
  const root = import.meta.dirname;
  if (needs(join(root, 'main.ts'), about).has(id)) return 'app';
  const own = /\/elements\/overview\/(?!mg-gpu-map)/.test(id);
  return !own && needs(join(root, 'elements/overview/mg-overview-stats.ts'), about).has(id) ? 'app' : null;
}

export default defineConfig({
  root: import.meta.dirname,
  base: '/',
  plugins: [squeezeCss(), preloadLanding(), precompress()],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    manifest: 'manifest.json',
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        codeSplitting: { groups: [{ debugName: 'app', name: (id, context) => landing(id, (other) => context.getModuleInfo(other)) }] },
      },
    },
  },
  worker: { format: 'es' },
});
