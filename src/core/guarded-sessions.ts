import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { Code, ConnectError } from '@connectrpc/connect';
import { Http2SessionManager } from '@connectrpc/connect-node';

type Request = Http2SessionManager['request'];

const ignore = (): void => {};

/** Connect's manager sets a timer anew at each sign of life; it need not know of more than these. Pings are seconds apart. */
const notifyMs = 250;

/**
 * A session manager whose sessions never raise an error that nobody listens to, which would end the process.
 *
 * Connect's manager takes its listener away when it lets go of a session, but a session that is being destroyed at
 * that moment still emits its error afterwards: a peer says goodbye while we close, or a PING times out and a call that
 * failed by that opens the next session before the old one has closed.
 */
export class GuardedSessions extends Http2SessionManager {
  readonly #guarded = new WeakSet<ClientHttp2Session>();
  #session: ClientHttp2Session | undefined;
  #signsOfLife = 0;
  #notifiedMs = Number.NEGATIVE_INFINITY;

  /** Grows with all that the peer sends, answers to {@link ping} included. */
  get signsOfLife(): number {
    return this.#signsOfLife;
  }

  /** Whether the session that carried the last request has ended; the next request opens another one. */
  get isOver(): boolean {
    return this.#session !== undefined && (this.#session.closed || this.#session.destroyed);
  }

  /** Asks the peer for a sign of life, over the session that carried the last request. */
  ping(): void {
    if (this.isOver) return;
    this.#session?.ping((error: Error | null) => {
      if (error === null) this.#signsOfLife += 1;
    });
  }

  override notifyResponseByteRead(stream: ClientHttp2Stream): void {
    this.#signsOfLife += 1;
    const nowMs = performance.now();
    if (nowMs - this.#notifiedMs < notifyMs) return;
    this.#notifiedMs = nowMs;
    super.notifyResponseByteRead(stream);
  }

  /**
   * Ends the session and its calls. Connect's manager would wait in a loop without an end, and keep its thread busy with
   * that, when a call is verifying the session meanwhile and the reason says that it was canceled.
   */
  override abort(reason: Error = new ConnectError('the connection was closed', Code.Unavailable)): void {
    const isCanceled = ConnectError.from(reason).code === Code.Canceled;
    super.abort(isCanceled ? new ConnectError(reason.message, Code.Unavailable) : reason);
  }

  override async request(...parameters: Parameters<Request>): Promise<ClientHttp2Stream> {
    const stream = await super.request(...parameters);
    const { session } = stream;
    this.#session = session as ClientHttp2Session | undefined;
    if (session !== undefined && !this.#guarded.has(session as ClientHttp2Session)) {
      this.#guarded.add(session as ClientHttp2Session);
      session.on('error', ignore); // the calls on the session report it
    }
    return stream;
  }
}
