/** The address space of one store instance, as another one sees it. */
export interface Segment {
  /** Its name in the cluster: the `localSegmentName` of its store. */
  readonly name: string;
  /** Where its data port answers: a host name or address without brackets. */
  readonly host: string;
  readonly port: number;
  /** Where it takes notifications and probes; undefined: it does not say. */
  readonly rpcPort?: number | undefined;
  /** Framing that its data port speaks: 1, or 2 with acknowledged statuses. */
  readonly protocolVersion: 1 | 2;
  /** Random for each engine: tells a restarted store from the one before. Absent in Mooncake's own. */
  readonly instance?: string | undefined;
  /** What its other transports publish, by their name; each checks its own. Absent: TCP only. */
  readonly endpoints?: Readonly<Record<string, unknown>> | undefined;
  /** Registered buffers, when the descriptor lists them. */
  readonly buffers: readonly { readonly address: number; readonly lengthBytes: number; readonly location: string }[];
}
