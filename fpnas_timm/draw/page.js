'use strict';
const read = id => JSON.parse(document.getElementById(id).textContent);

// the slider of the heat map
for (const box of document.querySelectorAll('[data-heat]')) {
  const data = read('heat-data');
  const cells = document.querySelectorAll('.heat .cell');
  const slider = box.querySelector('input');
  const button = box.querySelector('button');
  let timer = 0;
  const show = () => {
    const at = Number(slider.value);
    data.cells[at].forEach((value, i) => {
      cells[i].style.setProperty('--p', value / 1000);
      cells[i].classList.toggle('mid', value > 590);
      cells[i].classList.toggle('hi', value > 820);
      cells[i].querySelector('span').textContent = Math.round(value / 10);
    });
    slider.setAttribute('aria-valuetext', data.says[at]);
    box.querySelector('output').textContent = data.says[at];
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = 'play';
  };
  slider.addEventListener('input', show);
  button.addEventListener('click', () => {
    if (timer) return stop();
    if (slider.value === slider.max) slider.value = 0;
    button.textContent = 'stop';
    show();
    timer = setInterval(() => {
      if (slider.value === slider.max) return stop();
      slider.value = Number(slider.value) + 1;
      show();
    }, Math.max(60, 6000 / data.epoch.length));
  });
  show();
}

// the values below a chart, at the epoch under the pointer
for (const svg of document.querySelectorAll('[data-chart]')) {
  const data = read(svg.dataset.chart);
  const out = svg.parentElement.querySelector('.readout');
  const rule = document.createElementNS(svg.namespaceURI, 'line');
  const { width, height } = svg.viewBox.baseVal;
  const [left, right] = [54, width - 12];
  rule.setAttribute('class', 'rule');
  rule.setAttribute('y1', 18);
  rule.setAttribute('y2', height - 40);
  rule.style.display = 'none';
  svg.append(rule);
  const move = event => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * width;
    const epoch = data.first + (x - left) / (right - left) * (data.last - data.first);
    const nearest = points => points.reduce((a, b) => Math.abs(b[0] - epoch) < Math.abs(a[0] - epoch) ? b : a);
    const found = data.series.map(([name, points]) => [name, nearest(points)]);
    const at = found.map(([, point]) => point[0]).reduce((a, b) => Math.abs(b - epoch) < Math.abs(a - epoch) ? b : a);
    const px = left + (at - data.first) / (data.last - data.first) * (right - left);
    rule.setAttribute('x1', px);
    rule.setAttribute('x2', px);
    rule.style.display = '';
    const values = found.filter(([, point]) => point[0] === at);
    out.textContent = `epoch ${at}: ` + values.map(([name, point]) => `${name} ${point[1].toPrecision(5)}`).join(', ');
  };
  svg.addEventListener('pointermove', move);
  svg.addEventListener('pointerdown', move);
  svg.addEventListener('pointerleave', () => {
    rule.style.display = 'none';
    out.textContent = '';
  });
}

// copying commands
for (const button of document.querySelectorAll('.copy')) {
  button.addEventListener('click', async () => {
    const code = button.parentElement.querySelector('code');
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = 'copied';
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = 'selected';
    }
    setTimeout(() => { button.textContent = 'copy'; }, 1500);
  });
}
