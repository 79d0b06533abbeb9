/** A run of bytes in this process's address space. Owns nothing: whoever made it keeps the memory alive. */
export interface MemoryRange {
  /** Virtual address. User addresses stay below 2^52, so a number holds them exactly. */
  readonly address: number;
  readonly lengthBytes: number;
  /**
   * `direct`: heap or anonymous memory that we know; JavaScript may read it through a view.
   * `guarded`: a file mapping, or an address from outside. Touching it may end the process with a
   * signal (the file was truncated, the page unmapped), so only system calls may: they answer EFAULT.
   */
  readonly access: 'direct' | 'guarded';
}
