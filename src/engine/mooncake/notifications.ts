/** A short message from one engine to another, usually that a transfer is done. */
export interface Notification {
  /** By custom the name of the sender or of what the message is about. */
  readonly name: string;
  readonly message: string;
}

export type NotificationListener = (notification: Notification) => void;

/** Kept for the first listener; whoever sends more is told that nobody takes them. */
const KEPT_MAX = 1024;

/** Hands notifications to the listeners, and keeps those that come before the first. */
export class NotificationInbox {
  readonly #listeners = new Set<NotificationListener>();
  #kept: Notification[] = [];

  /** @returns Whether it was taken. */
  deliver(notification: Notification): boolean {
    if (this.#listeners.size === 0) {
      if (this.#kept.length >= KEPT_MAX) return false;
      this.#kept.push(notification);
      return true;
    }
    for (const listener of this.#listeners) listener(notification);
    return true;
  }

  /** @returns Removes the listener. */
  listen(listener: NotificationListener): () => void {
    this.#listeners.add(listener);
    const kept = this.#kept;
    this.#kept = [];
    for (const notification of kept) listener(notification);
    return () => {
      this.#listeners.delete(listener);
    };
  }
}
