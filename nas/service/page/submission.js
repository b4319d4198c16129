// Sends a job once, however often the button is pressed or the answer is lost.

import { post } from "./api.js";

export class Submission {
  #key = null;
  #body = null;

  /** Returns the job; the same request keeps its key until the server has answered. */
  async send(request) {
    const body = JSON.stringify(request);
    if (body !== this.#body) {
      this.#body = body;
      this.#key = newKey();
    }
    return post("jobs", request, { "Idempotency-Key": this.#key });
  }
}

// `crypto.randomUUID` is there on encrypted pages alone.
function newKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
