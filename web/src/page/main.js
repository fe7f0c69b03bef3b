/** Starts the page: what it needs, the tabs, and their two parts. */

import { block, button, message } from './dom.js'
import { startFileTab } from './file_tab.js'
import { startLiveTab } from './live_tab.js'

const TABS = ['file', 'live']

/** @param {string} chosen */
function show(chosen) {
  for (const name of TABS) {
    button(`tab-${name}`).setAttribute('aria-selected', String(name === chosen))
    button(`tab-${name}`).tabIndex = name === chosen ? 0 : -1
    block(name).hidden = name !== chosen
  }
}

function startTabs() {
  for (const name of TABS) {
    const tab = button(`tab-${name}`)
    tab.onclick = () => show(name)
    tab.onkeydown = ({ key }) => {
      if (!['ArrowLeft', 'ArrowRight', 'Home', 'End'].includes(key)) return
      const other = { Home: 'file', End: 'live' }[key] ?? (name === 'file' ? 'live' : 'file')
      show(other)
      button(`tab-${other}`).focus()
    }
  }
  show(location.hash === '#live' ? 'live' : 'file')
}

if (typeof WebAssembly === 'undefined') {
  message('unsupported', 'This browser has no WebAssembly, which this page needs. ' +
    'A current Chrome, Edge, Firefox or Safari has it, unless a setting turns it off.')
} else {
  block('unsupported').hidden = true
  block('app').hidden = false
  startTabs()
  startFileTab()
  startLiveTab()
}
