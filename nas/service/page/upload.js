// Files that belong to a job: each is sent first, and the job names it by the id that it gets.

import { address, ApiError, taken, unanswered } from "./api.js";
import { h, newId } from "./dom.js";
import { bytes } from "./format.js";
import { wrapped } from "./field.js";
import { user } from "./session.js";

/** Returns a field whose control is a file; `send()` uploads it, and `value()` is then its id. */
export function makeUpload(entry, option) {
  const id = newId(entry.name);
  const node = h("input", { id, type: "file", "aria-describedby": `${id}-help ${id}-wrong`,
    accept: entry.upload === "result" ? ".json,application/json" : ".zip,application/zip" });
  const progress = h("progress", { max: 1, value: 0, hidden: true, "aria-label":
    `Upload of the ${entry.name}` });
  let sent = null; // {file, id}: a second attempt does not send the same file again
  node.addEventListener("change", () => { sent = null; });

  const control = { node: h("div", { class: "upload" }, node, progress), target: () => node,
    value: () => sent?.id ?? null, set: () => {} };
  const field = wrapped({ entry, option, id }, control);
  field.send = async () => {
    const file = node.files[0];
    if (!file || sent) return;
    const most = user()?.server?.limits?.max_upload_bytes;
    if (most && file.size > most) {
      throw new ApiError(413, { code: "too_large", field: entry.name,
        message: `${file.name} has ${bytes(file.size)}; this server takes ${bytes(most)}` });
    }
    progress.hidden = false;
    try {
      const onShare = (share) => { progress.value = share; };
      const { id: given } = await upload(entry.upload, file, onShare);
      sent = { file, id: given };
    } catch (error) {
      if (error instanceof ApiError) error.field = entry.name;
      throw error;
    } finally {
      progress.hidden = true;
    }
  };
  return field;
}

// `fetch` does not tell how far an upload is.
function upload(kind, file, onShare) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const path = `uploads?kind=${kind}`;
    request.open("POST", address(path));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = ({ loaded, total }) => onShare(loaded / total);
    request.onerror = () => reject(unanswered());
    request.onload = () => {
      try {
        resolve(taken(request.status, request.responseText,
          request.getResponseHeader("Retry-After"), path));
      } catch (error) {
        reject(error);
      }
    };
    request.send(file);
  });
}
