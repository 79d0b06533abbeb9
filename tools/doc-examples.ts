/** Finds the fenced examples in Markdown and in the doc comments of sources. */

export interface Example {
  /** Path of the document, relative to the root of the project. */
  readonly file: string;
  /** Line of the first line of code, from 1. */
  readonly line: number;
  readonly language: 'ts' | 'sh';
  /** Marked `run`: it is executed, not only compiled. */
  readonly isRun: boolean;
  readonly code: string;
}

const FENCE = /^(?<indent>\s*)```(?<info>.*)$/;

/** Strips the ` * ` of doc comments, so that a source reads as Markdown; other lines become empty. */
function commentLines(text: string): string[] {
  let isInside = false;
  return text.split('\n').map((line) => {
    const isOpening = /^\s*\/\*\*/.test(line);
    if (isOpening) isInside = true;
    const comment = isInside && !isOpening ? line.replace(/^\s*\* ?/, '') : '';
    if (line.includes('*/')) isInside = false;
    return comment === '/' ? '' : comment;
  });
}

/**
 * @param file - Decides how `text` is read: Markdown, or doc comments when it ends in `.ts`.
 * @returns The examples in `ts`, and those in `sh` that are marked `run`, in order.
 * @throws Error A fence is not closed.
 */
export function extractExamples(file: string, text: string): Example[] {
  const lines = file.endsWith('.ts') ? commentLines(text) : text.split('\n');
  const examples: Example[] = [];
  let open: { readonly line: number; readonly info: string; readonly indent: number } | undefined;
  for (const [index, line] of lines.entries()) {
    const fence = FENCE.exec(line)?.groups;
    if (fence === undefined) continue;
    if (open === undefined) {
      open = { line: index + 2, info: (fence['info'] ?? '').trim(), indent: (fence['indent'] ?? '').length };
      continue;
    }
    const { indent } = open;
    const [language, ...words] = open.info.split(/\s+/);
    const isRun = words.includes('run');
    const code = lines.slice(open.line - 1, index).map((codeLine) => codeLine.slice(indent));
    if (language === 'ts' || (language === 'sh' && isRun)) {
      examples.push({ file, line: open.line, language, isRun, code: `${code.join('\n')}\n` });
    }
    open = undefined;
  }
  if (open !== undefined) throw new Error(`Cannot read ${file}: the fence at line ${open.line - 1} is not closed`);
  return examples;
}
