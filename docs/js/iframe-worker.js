// Browsers do not start web workers from files on a disk, and the site's search is one: run it in a hidden frame there.
if (location.protocol === 'file:') {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.url = String(url);
      this.waiting = [];
      this.frame = document.createElement('iframe');
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const inside = this.frame.contentWindow;
      const scope = this.frame.contentDocument;
      inside.postMessage = (data) => this.receive(data);
      inside.importScripts = (...urls) => urls.reduce(
        (before, next) => before.then(() => this.load(scope, next)), Promise.resolve()
      );
      this.load(scope, this.url).then(() => {
        this.ready = true;
        this.waiting.splice(0).forEach((data) => this.send(data));
      });
    }

    load(scope, url) {
      return new Promise((resolve, reject) => {
        const script = scope.createElement('script');
        script.src = url;
        script.onload = resolve;
        script.onerror = () => reject(new Error(`${url} cannot be loaded`));
        scope.body.appendChild(script);
      });
    }

    send(data) {
      this.frame.contentWindow.dispatchEvent(new MessageEvent('message', {data}));
    }

    postMessage(data) {
      if (this.ready) this.send(data); else this.waiting.push(data);
    }

    receive(data) {
      const event = new MessageEvent('message', {data});
      this.dispatchEvent(event);
      if (this.onmessage) this.onmessage(event);
    }

    terminate() {
      this.frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;
}
