// What the thread of the audio device has; the types of a page do not know it.
declare const sampleRate: number
declare class AudioWorkletProcessor {
  readonly port: MessagePort
}
declare function registerProcessor(name: string, processor: new (options: any) => AudioWorkletProcessor): void
