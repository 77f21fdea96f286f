// What PAC files may call besides JavaScript itself. Names are looked up outside: one that isn't known yet is noted, and
// the file is asked again once it is.
var __known = {}, __missing = [];

function dnsResolve(host) {
    host = String(host).toLowerCase();
    if (/^[0-9]+(\.[0-9]+){3}$/.test(host)) return host;
    if (!Object.prototype.hasOwnProperty.call(__known, host)) { __missing.push(host); return null; }
    return __known[host];
}
function isResolvable(host) { return dnsResolve(host) !== null; }
function myIpAddress() { return __address; }
function isPlainHostName(host) { return String(host).indexOf(".") < 0; }
function dnsDomainIs(host, domain) { return String(host).toLowerCase().endsWith(String(domain).toLowerCase()); }
function dnsDomainLevels(host) { return String(host).split(".").length - 1; }
function localHostOrDomainIs(host, name) { return host === name || (isPlainHostName(host) && name.startsWith(host + ".")); }
function __number(address) {
    return String(address).split(".").reduce(function (sum, part) { return sum * 256 + (part & 255); }, 0);
}
function convert_addr(address) { return __number(address) | 0; }
function isInNet(host, network, mask) {
    var address = dnsResolve(host);
    if (address === null) return false;
    return ((__number(address) & __number(mask)) >>> 0) === ((__number(network) & __number(mask)) >>> 0);
}
function shExpMatch(text, expression) {
    var pattern = String(expression).replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".");
    return new RegExp("^" + pattern + "$").test(String(text));
}
function alert() {}
function __between(low, now, high) { return low <= high ? low <= now && now <= high : now >= low || now <= high; }
function weekdayRange(first, last, zone) {
    var days = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], isUtc = zone === "GMT" || last === "GMT";
    var end = last === undefined || last === "GMT" ? first : last, now = new Date();
    return __between(days.indexOf(first), isUtc ? now.getUTCDay() : now.getDay(), days.indexOf(end));
}
function timeRange() {
    var given = Array.from(arguments), isUtc = given[given.length - 1] === "GMT" && given.pop(), now = new Date();
    var seconds = isUtc ? now.getUTCHours() * 3600 + now.getUTCMinutes() * 60 + now.getUTCSeconds()
                        : now.getHours() * 3600 + now.getMinutes() * 60 + now.getSeconds();
    function point(parts) { return (parts[0] || 0) * 3600 + (parts[1] || 0) * 60 + (parts[2] || 0); }
    if (given.length === 1) return Math.floor(seconds / 3600) === given[0];
    var half = given.length / 2, last = point(given.slice(half));
    return __between(point(given.slice(0, half)), seconds, half === 1 ? last + 3599 : last);
}
function __find(known, address, url, host) {
    __known = JSON.parse(known); __missing = []; __address = address;
    var found = FindProxyForURL(url, host);
    return JSON.stringify({ found: found === null || found === undefined ? "DIRECT" : String(found), missing: __missing });
}
var __address = "127.0.0.1";
