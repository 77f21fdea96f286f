// What connected machines need goes through the enterprise proxy, everything else goes directly.
var arcgateNames = [
    "abc.gw.arcgate.example",
    "www.example.com"
];
var arcgatePatterns = [
    "^([^.]+\\.)+his\\.arcgate\\.example$",
    "^azgn[^.]*\\.bus\\.example\\.net$",
    "^([^.]+\\.)+obo\\.example\\.com$"
];

function FindProxyForURL(url, host) {
    host = host.toLowerCase().replace(/\.$/, "");
    if (arcgateNames.indexOf(host) >= 0) {
        return "PROXY proxy.example.com:3128";
    }
    for (var i = 0; i < arcgatePatterns.length; i++) {
        if (new RegExp(arcgatePatterns[i]).test(host)) {
            return "PROXY proxy.example.com:3128";
        }
    }
    return "DIRECT";
}
