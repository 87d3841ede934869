export interface Frame {
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

/** Cuts server-sent events out of text as it arrives: give it chunks, get whole frames. */
export class FrameReader {
  #rest = '';

  read(chunk: string): Frame[] {
    // A chunk may end within a line end of two characters; such an end waits for the next chunk.
    const text = this.#rest + chunk;
    const usable = text.endsWith('\r') ? text.slice(0, -1) : text;
    const blocks = usable.replace(/\r\n?/g, '\n').split('\n\n');
    this.#rest = (blocks.pop() ?? '') + text.slice(usable.length);
    return blocks.map(frame).filter((found) => found.data !== '' || found.event !== '');
  }
}

function frame(block: string): Frame {
  let [id, event] = ['', ''];
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon === 0) continue;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'id') id = value;
    else if (name === 'event') event = value;
    else if (name === 'data') data.push(value);
  }
  return { id, event, data: data.join('\n') };
}
