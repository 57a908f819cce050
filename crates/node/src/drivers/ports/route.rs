//! Which router leads out, as far as the system tells.

use std::net::Ipv4Addr;

/// The router that leads out over IPv4. Elsewhere than on Linux there is no short way to know, and UPnP, which finds
/// its router itself, has to do.
pub(super) fn gateway() -> Option<Ipv4Addr> {
    #[cfg(target_os = "linux")]
    return of_table(&std::fs::read_to_string("/proc/net/route").ok()?);
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// The default route with the smallest metric in the table of proc(5).
#[cfg(any(target_os = "linux", test))]
fn of_table(table: &str) -> Option<Ipv4Addr> {
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let hex = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let (to, through, mask) = (hex(1)?, hex(2)?, hex(7)?);
        let metric: u32 = fields.get(6)?.parse().ok()?;
        // Numbers are as they lie in memory, which is the order of the network.
        let through = Ipv4Addr::from(through.to_ne_bytes());
        (to == 0 && mask == 0 && !through.is_unspecified()).then_some((metric, through))
    };
    let routes = table.lines().skip(1).filter_map(of_line);
    routes.min().map(|(_, through)| through)
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_default_route_leads_out() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\tFE01A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(of_table(table), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(
            of_table("Iface\nppp0 00000000 00000000 1 0 0 0 00000000 0 0 0\n"),
            None
        );
        assert_eq!(of_table("what\never this is\n"), None);
    }
}
